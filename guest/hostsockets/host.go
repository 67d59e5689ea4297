package hostsockets

import (
	"context"
	"errors"
	"fmt"
)

// Connection is what the host is told: a client waits.
type Connection struct {
	// ID is never used again in this boot.
	ID string
	To Target
}

// Host is one connected host. Its fields are guarded by the server's lock.
type Host struct {
	server *Server
	queue  []*waiter // not told yet; some may not wait any more
	ended  bool
	gone   chan struct{} // closed when it is not the server's host any more
	news   chan struct{}
}

var errHostGone = errors.New("another host took over")

// Attach makes the host that connections are told to, in place of an earlier
// one. The caller closes it.
func (s *Server) Attach() *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host != nil {
		s.host.end()
	}
	s.host = &Host{server: s, gone: make(chan struct{}), news: make(chan struct{}, 1)}
	return s.host
}

// Next returns the next connection that the host has to come for. It waits for
// it until ctx ends; after that, or when another host took over, it returns an
// error. It is called by one goroutine at a time.
func (h *Host) Next(ctx context.Context) (Connection, error) {
	for {
		if c, ok, err := h.pop(); ok || err != nil {
			return c, err
		}
		select {
		case <-h.news:
		case <-h.gone:
		case <-ctx.Done():
			return Connection{}, ctx.Err()
		}
	}
}

func (h *Host) pop() (Connection, bool, error) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	if h.ended {
		return Connection{}, false, errHostGone
	}
	for len(h.queue) > 0 {
		w := h.queue[0]
		h.queue = h.queue[1:]
		if h.server.waiting[w.id] == w {
			return Connection{ID: w.id, To: w.to}, true, nil
		}
	}
	return Connection{}, false, nil
}

// Refuse is the host's answer to a connection that it does not make. One that
// does not wait is passed over.
func (h *Host) Refuse(id, reason string) {
	h.server.settle(id, fmt.Errorf("the host refused it: %s", reason))
}

// Close ends the host: whoever waits for it is refused. It may be called more
// than once.
func (h *Host) Close() {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	h.end()
}

// end and push are called with the server's lock held.
func (h *Host) end() {
	if h.ended {
		return
	}
	h.ended = true
	h.queue = nil
	close(h.gone)
	h.server.host = nil
	for id, w := range h.server.waiting {
		delete(h.server.waiting, id)
		w.settled <- errNoHost
	}
}

func (h *Host) push(w *waiter) {
	if len(h.queue) >= 2*maxWaiting { // a host that does not read: most have given up
		live := h.queue[:0]
		for _, q := range h.queue {
			if h.server.waiting[q.id] == q {
				live = append(live, q)
			}
		}
		h.queue = live
	}
	h.queue = append(h.queue, w)
	select {
	case h.news <- struct{}{}:
	default:
	}
}
