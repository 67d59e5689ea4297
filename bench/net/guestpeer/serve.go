//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// The first byte of a connection says what it is for. Every peer then needs one
// port only, whose forward carries all measurements.
const (
	askEcho  = 'e' // give back this byte and all others
	askDrain = 'd' // read to the end, then say how many bytes came
	askFlood = 's' // write zeros until the client is gone
	askAge   = 'a' // say for how many nanoseconds the port has been open
)

const bufferSize = 128 << 10

// serve answers on all ports of the range and returns when one fails.
func serve(first, last int) error {
	failed := make(chan error)
	for port := first; port <= last; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		since := time.Now()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					failed <- err
					return
				}
				go answer(c, since)
			}
		}()
	}
	return <-failed
}

// answer does what the client asks. What fails is the client's to notice.
func answer(c net.Conn, since time.Time) {
	defer c.Close()
	small := make([]byte, 8)
	if _, err := io.ReadFull(c, small[:1]); err != nil {
		return
	}
	switch small[0] {
	case askEcho:
		for n := 1; ; {
			if _, err := c.Write(small[:n]); err != nil {
				return
			}
			var err error
			if n, err = c.Read(small); err != nil {
				return
			}
		}
	case askDrain:
		total, buf := uint64(0), make([]byte, bufferSize)
		for {
			n, err := c.Read(buf)
			total += uint64(n)
			if err != nil {
				break
			}
		}
		binary.BigEndian.PutUint64(small, total)
		_, _ = c.Write(small)
	case askFlood:
		zeros := make([]byte, bufferSize)
		for {
			if _, err := c.Write(zeros); err != nil {
				return
			}
		}
	case askAge:
		binary.BigEndian.PutUint64(small, uint64(time.Since(since)))
		_, _ = c.Write(small)
	}
}
