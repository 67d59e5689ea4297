package port

import (
	"context"
	"net"
)

// Stream is a reliable byte stream whose directions end independently.
type Stream interface {
	net.Conn
	// CloseWrite ends this side's data: the peer reads io.EOF, and may go on
	// sending. Close ends both directions.
	CloseWrite() error
}

// Dialer opens streams to vsock ports of one guest.
type Dialer interface {
	// Dial may be called from the return of Hypervisor.Start until the machine
	// is down. The caller owns and closes the stream. It returns
	// domain.ErrNotRunning when the machine is down, syscall.ECONNREFUSED when
	// nobody listens on the port.
	Dial(ctx context.Context, port uint32) (Stream, error)
}
