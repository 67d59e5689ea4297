//go:build linux

// Command guest is the init of the virtual machine of the vsock test: servers
// on vsock ports, and nothing else.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/mdlayher/vsock"
)

func main() {
	services := map[uint32]func(*vsock.Conn) error{
		7:  echo,
		9:  discard,
		11: greet,
		13: reboot,
		19: source,
	}
	for port, serve := range services {
		l, err := vsock.Listen(port, nil)
		if err != nil {
			fmt.Println("guest: listen:", err)
			os.Exit(1)
		}
		go accept(l, serve)
	}
	fmt.Println("guest: ready")
	select {}
}

func accept(l *vsock.Listener, serve func(*vsock.Conn) error) {
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Println("guest: accept:", err)
			return
		}
		go func() {
			if err := serve(c.(*vsock.Conn)); err != nil {
				fmt.Println("guest:", err)
			}
			_ = c.Close()
		}()
	}
}

func echo(c *vsock.Conn) error {
	if _, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 256<<10)); err != nil {
		return err
	}
	return c.CloseWrite()
}

// discard answers with the number of bytes after the end.
func discard(c *vsock.Conn) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	_, err = c.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return err
}

func greet(c *vsock.Conn) error {
	_, err := io.WriteString(c, "hello from the guest")
	return err
}

func reboot(*vsock.Conn) error {
	return syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
}

// source sends as many bytes as it is asked for.
func source(c *vsock.Conn) error {
	var n uint64
	if err := binary.Read(c, binary.LittleEndian, &n); err != nil {
		return err
	}
	b := make([]byte, 256<<10)
	for n > 0 {
		k, err := c.Write(b[:min(n, uint64(len(b)))])
		if err != nil {
			return err
		}
		n -= uint64(k)
	}
	return nil
}
