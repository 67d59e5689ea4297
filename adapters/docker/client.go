package docker

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// errVanished is a client that closed its end for good.
var errVanished = errors.New("the client went away")

// client is an accepted connection. A Docker client that ends its standard
// input shuts down one direction and reads on; one that is gone has closed
// both. Read returns io.EOF for either, so they are told apart here: dockerd
// ends a quiet attach only when it sees the second.
type client struct {
	*net.UnixConn
	raw syscall.RawConn
}

func newClient(conn *net.UnixConn) (*client, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &client{conn, raw}, nil
}

// vanished reports whether the peer closed both directions.
func (c *client) vanished() bool {
	var gone bool
	err := c.raw.Control(func(fd uintptr) { gone = peerClosed(fd) })
	return gone || err != nil
}

// awaitVanishing blocks, without reading anything, until the peer has closed
// both directions (errVanished) or the read deadline passes
// (os.ErrDeadlineExceeded). It must not run beside a Read.
func (c *client) awaitVanishing() error {
	err := c.raw.Read(func(fd uintptr) bool { return peerClosed(fd) })
	switch {
	case err == nil:
		return errVanished
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	}
	return errVanished
}

// interrupt makes the Read or awaitVanishing that is on its way return.
func (c *client) interrupt() { _ = c.SetReadDeadline(time.Unix(1, 0)) }

// resume undoes interrupt.
func (c *client) resume() { _ = c.SetReadDeadline(time.Time{}) }
