//go:build linux

package publish

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"arcbox/domain"
	"arcbox/guest/tunnel"
)

const (
	// localConnections bounds the guest's own clients of one port. They are few:
	// all others come over the host, or are led to the container by the kernel.
	localConnections = 128
	localDial        = 5 * time.Second
)

// local serves a published port to the guest's own clients: containers that
// share its network and say localhost, and containers that ask a gateway
// address. dockerd bound the socket, and without somebody who accepts, their
// connections would hang.
type local struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// serveGuest takes over socket, which may be nil. What it cannot serve is
// logged: the port of the host works without.
func (s *Server) serveGuest(ctx context.Context, socket *os.File, rule domain.ForwardRule) *local {
	ctx, cancel := context.WithCancel(ctx)
	l := &local{cancel: cancel}
	if socket == nil {
		return l
	}
	run, err := s.localServer(socket, rule)
	_ = socket.Close() // the server has a copy
	if err != nil {
		s.Log.Warn("published port not served in the guest itself", "rule", rule.String(), "error", err)
		return l
	}
	l.wg.Go(func() {
		if err := run(ctx); err != nil {
			s.Log.Warn("published port no longer served in the guest itself", "rule", rule.String(), "error", err)
		}
	})
	return l
}

// close returns when the socket is closed and nothing runs.
func (l *local) close() {
	l.cancel()
	l.wg.Wait()
}

func (s *Server) localServer(socket *os.File, rule domain.ForwardRule) (func(context.Context) error, error) {
	if rule.Protocol == domain.UDP {
		c, err := net.FilePacketConn(socket)
		if err != nil {
			return nil, err
		}
		u, ok := c.(*net.UDPConn)
		if !ok {
			_ = c.Close()
			return nil, fmt.Errorf("dockerd's socket is a %T: %w", c, domain.ErrInvalid)
		}
		return (&datagrams{socket: u, target: rule.Target}).serve, nil
	}
	l, err := net.FileListener(socket)
	if err != nil {
		return nil, err
	}
	streams := &tunnel.Server{
		Name: "published " + rule.Host.String(), Limit: localConnections, Log: s.Log,
		Open: func(ctx context.Context, _ tunnel.Conn) (tunnel.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, localDial)
			defer cancel()
			c, err := new(net.Dialer).DialContext(ctx, "tcp", rule.Target.String())
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		},
	}
	return func(ctx context.Context) error { return streams.Serve(ctx, l) }, nil
}
