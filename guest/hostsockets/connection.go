package hostsockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"arcbox/domain"
	"arcbox/guest/tunnel"
)

// client is a connection to a socket. Until it is closed it counts among those
// that are open.
type client struct {
	*net.UnixConn
	once    sync.Once
	release func()
}

// Close implements net.Conn. It may be called more than once.
func (c *client) Close() error {
	err := c.UnixConn.Close()
	c.once.Do(c.release)
	return err
}

// waiter is a connection that waits for the host.
type waiter struct {
	id      string
	to      Target
	conn    *client
	settled chan error // gets nil when the host has taken it, else why it is refused
}

// accept takes clients of one socket until it is closed or ctx ends. Each has a
// goroutine of running until the host has taken it or it is refused.
func (s *Server) accept(ctx context.Context, running *sync.WaitGroup, k *socket) {
	for {
		accepted, err := tunnel.Accept(ctx, k.listener)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				s.cfg.Log.Error("a socket of the host is not served any more", "to", s.target(k).String(), "error", err)
			}
			return
		}
		conn, to := accepted.(*net.UnixConn), s.target(k)
		select {
		case s.slots <- struct{}{}:
			c := &client{UnixConn: conn, release: func() { <-s.slots }}
			running.Go(func() {
				if err := s.await(ctx, to, c); err != nil {
					_ = c.Close()
					if ctx.Err() == nil {
						s.complain.warn(to, err)
					}
				}
			})
		default:
			_ = conn.Close()
			s.complain.warn(to, fmt.Errorf("more than %d connections are open: %w", maxConnections, domain.ErrConflict))
		}
	}
}

// String is the target for the log.
func (t Target) String() string { return t.Service + t.HostPath }

// await tells the host of c and waits until it has taken it. After an error c
// is still the caller's.
func (s *Server) await(ctx context.Context, to Target, c *client) error {
	w, err := s.announce(to, c)
	if err != nil {
		return err
	}
	limit := time.NewTimer(hostLimit)
	defer limit.Stop()
	select {
	case err := <-w.settled:
		return err
	case <-limit.C:
		err = fmt.Errorf("the host did not come for %s: %w", hostLimit, domain.ErrTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if s.settle(w.id, err) == nil {
		return <-w.settled // something else came first
	}
	return err
}

var errNoHost = fmt.Errorf("the host does not take connections: %w", domain.ErrUnavailable)

func (s *Server) announce(to Target, c *client) (*waiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.host == nil:
		return nil, errNoHost
	case len(s.waiting) >= maxWaiting:
		return nil, fmt.Errorf("more than %d connections wait for the host: %w", maxWaiting, domain.ErrConflict)
	}
	s.lastID++
	w := &waiter{id: strconv.FormatUint(s.lastID, 10), to: to, conn: c, settled: make(chan error, 1)}
	s.waiting[w.id] = w
	s.host.push(w)
	return w, nil
}

// settle ends the wait of a connection, and returns it; nil when it does not
// wait.
func (s *Server) settle(id string, why error) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[id]
	if w != nil {
		delete(s.waiting, id)
		w.settled <- why
	}
	return w
}

// Take hands over the connection that waits under id, which the caller closes;
// nil when none does.
func (s *Server) Take(id string) tunnel.Conn {
	if w := s.settle(id, nil); w != nil {
		return w.conn
	}
	return nil
}
