//go:build linux

// Package tunnel serves vsock ports whose connections are raw bytes: each is
// joined with a connection inside the guest.
package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
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
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		_ = l.Close()
	})
	slots := make(chan struct{}, s.Limit)
	for {
		c, err := Accept(ctx, l)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		client, ok := c.(Conn)
		if !ok {
			_ = c.Close()
			return errors.New("the listener's connections cannot be half-closed")
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				s.serve(ctx, client)
			})
		default:
			s.Log.Warn("connection refused: too many", "port", s.Name, "limit", s.Limit)
			_ = client.Close()
		}
	}
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

// Accept is l.Accept that outlives failures which pass, such as running out of
// file descriptors.
func Accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		var ne net.Error
		if err == nil || ctx.Err() != nil || errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) || !temporary(err) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}
