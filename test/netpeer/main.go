// Command netpeer is the other end of network tests: a static program for
// containers that serves what its arguments say, until it is killed.
//
//	netpeer echo:tcp::7 echo:udp::7 sum:tcp::9
//
// An argument is behaviour:network:address. The behaviours are
//
//	echo   gives back what comes; a TCP stream ends with "end\n" after the peer's end
//	sum    reads to the end, then says how many bytes came and their sha256
//	stall  takes the connection and reads nothing
//	reset  reads one byte and resets the connection
//	from   says the address of the peer
//	flood  writes zeros until the peer is gone
//
// UDP knows echo and from. `netpeer frames DEVICE COUNT` sends malformed
// Ethernet frames instead, and prints how many went out.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "frames" {
		count, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = frames(os.Args[2], count, 1)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "netpeer:", err)
			os.Exit(1)
		}
		return
	}
	failed := make(chan error)
	for _, arg := range os.Args[1:] {
		go func() { failed <- serve(arg) }()
	}
	fmt.Fprintln(os.Stderr, "netpeer:", <-failed)
	os.Exit(1)
}

func serve(arg string) error {
	behaviour, rest, _ := strings.Cut(arg, ":")
	network, address, ok := strings.Cut(rest, ":")
	if !ok {
		return fmt.Errorf("%q is not behaviour:network:address", arg)
	}
	if strings.HasPrefix(network, "udp") {
		return serveUDP(behaviour, network, address)
	}
	stream, ok := streams()[behaviour]
	if !ok {
		return fmt.Errorf("no behaviour %q", behaviour)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			stream(c.(*net.TCPConn))
		}()
	}
}

// streams are the behaviours of a TCP connection. What fails in one is the
// business of the test at its other end.
func streams() map[string]func(*net.TCPConn) {
	return map[string]func(*net.TCPConn){
		"echo": func(c *net.TCPConn) {
			if _, err := io.Copy(c, c); err == nil {
				_, _ = io.WriteString(c, "end\n")
			}
		},
		"sum": func(c *net.TCPConn) {
			h := sha256.New()
			if n, err := io.Copy(h, c); err == nil {
				_, _ = fmt.Fprintf(c, "%d %x\n", n, h.Sum(nil))
			}
		},
		"stall": func(*net.TCPConn) { select {} },
		"reset": func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		},
		"from": func(c *net.TCPConn) { _, _ = fmt.Fprintln(c, c.RemoteAddr()) },
		"flood": func(c *net.TCPConn) {
			zeros := make([]byte, 64<<10)
			for {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
		},
	}
}

func serveUDP(behaviour, network, address string) error {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		answer := buf[:n]
		if behaviour == "from" {
			answer = []byte(from.String())
		}
		// A peer that is gone is no reason to end.
		_, _ = c.WriteTo(answer, from)
	}
}
