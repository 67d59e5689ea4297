package port

import (
	"context"
)

// SocketSource is implemented by sessions with agents that have Unix sockets in
// the guest for sockets of the host.
type SocketSource interface {
	// Sockets serves connections to the guest's sockets until ctx ends or the
	// session is over, and returns why.
	Sockets(ctx context.Context, h SocketHandler) error
	// OfferSocket makes a Unix socket in the guest, which lasts over boots of the
	// guest, for one of the host, and returns the guest's path.
	OfferSocket(ctx context.Context, hostPath string) (guestPath string, err error)
}

// SocketHandler connects the guest to sockets of the host. The guest is not
// trusted: the handler decides what it may reach.
type SocketHandler interface {
	// DialService connects to the service of a domain.GuestSocket.
	DialService(ctx context.Context, service string) (Stream, error)
	// DialPath connects to a Unix socket of the host.
	DialPath(ctx context.Context, path string) (Stream, error)
}
