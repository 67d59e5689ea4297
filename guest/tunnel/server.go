//go:build linux

// Package tunnel serves vsock ports whose connections are raw bytes: each is
// joined with a connection inside the guest.
package tunnel

import (
	"context"
	"log/slog"
	"net"
)

// Server accepts connections of the host and joins each with the connection
// that Open makes for it.
type Server struct {
	// Name is for the log.
	Name string
	// Open makes the connection for client, which may have been read from and
	// answered. It does not close client.
	Open func(ctx context.Context, client Conn) (Conn, error)
	// Limit is how many connections may be open at once; more are closed.
	Limit int
	Log   *slog.Logger
}

// Serve accepts until ctx ends or the listener fails for good, closes the
// listener and every connection, and waits for them. It returns nil after the
// end of ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return ServeEach(ctx, l, s.Limit, s.serve, func() {
		s.Log.Warn("connection refused: too many", "port", s.Name, "limit", s.Limit)
	})
}

func (s *Server) serve(ctx context.Context, client Conn) {
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	inner, err := s.Open(ctx, client)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.Debug("connection refused", "port", s.Name, "error", err)
		}
		_ = client.Close()
		return
	}
	stopInner := context.AfterFunc(ctx, func() { _ = inner.Close() })
	defer stopInner()
	Join(client, inner)
}
