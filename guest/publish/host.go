package publish

import (
	"context"
	"errors"

	"arcbox/domain"
)

// Event is what a host is told: Snapshot, Bind, Release or Listeners.
type Event interface{ event() }

type (
	// Snapshot holds the leases that were granted and live. All others are over.
	Snapshot struct{ Leases []Lease }
	// Bind wants an Answer.
	Bind struct{ Lease Lease }
	// Release wants a Released.
	Release struct{ ID string }
	// Listeners replaces the earlier ones.
	Listeners struct{ Sockets []domain.GuestListener }
)

func (Snapshot) event()  {}
func (Bind) event()      {}
func (Release) event()   {}
func (Listeners) event() {}

// maxQueue bounds what waits for a host that does not read: a bind and a
// release of every lease, twice.
const maxQueue = 4 * MaxLeases

// Host is one connected host. Its fields are guarded by the broker's lock.
type Host struct {
	broker    *Broker
	queue     []Event
	stale     bool // the listeners were not told
	ended     bool
	releasing map[string]chan struct{}
	gone      chan struct{} // closed when it is not the broker's host any more
	news      chan struct{}
}

// Next returns what the host has to be told next. It waits for it until ctx
// ends; after that, or when another host took over, it returns an error. It is
// called by one goroutine at a time.
func (h *Host) Next(ctx context.Context) (Event, error) {
	for {
		if e, ok, err := h.pop(); ok || err != nil {
			return e, err
		}
		select {
		case <-h.news:
		case <-h.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (h *Host) pop() (Event, bool, error) {
	h.broker.mu.Lock()
	defer h.broker.mu.Unlock()
	if h.ended {
		return nil, false, errHostGone
	}
	if len(h.queue) > 0 {
		e := h.queue[0]
		if _, first := e.(Snapshot); first || !h.stale {
			h.queue = h.queue[1:]
			return e, true, nil
		}
	}
	if h.stale {
		h.stale = false
		return Listeners{h.broker.listeners}, true, nil
	}
	return nil, false, nil
}

// Answer is the host's answer to a bind: text is "" when the port is open. An
// answer that nobody waits for is passed over.
func (h *Host) Answer(id, text string) {
	h.broker.mu.Lock()
	defer h.broker.mu.Unlock()
	l := h.broker.leases[id]
	if h.ended || l == nil || l.granted || len(l.answer) > 0 {
		return
	}
	if text != "" {
		l.answer <- errors.New(text)
		return
	}
	l.granted = true
	l.answer <- nil
}

// Released says that the port of a released lease is free.
func (h *Host) Released(id string) {
	h.broker.mu.Lock()
	defer h.broker.mu.Unlock()
	if free, ok := h.releasing[id]; ok {
		delete(h.releasing, id)
		close(free)
	}
}

// Close ends the host's connection. It may be called more than once.
func (h *Host) Close() {
	h.broker.mu.Lock()
	defer h.broker.mu.Unlock()
	h.end()
}

// end, push and wake are called with the broker's lock held.
func (h *Host) end() {
	if h.ended {
		return
	}
	h.ended = true
	h.queue = nil
	close(h.gone)
	if h.broker.host == h {
		h.broker.host = nil
	}
}

func (h *Host) push(e Event) {
	if len(h.queue) >= maxQueue {
		h.end() // the host opens a new stream and gets a snapshot
		return
	}
	h.queue = append(h.queue, e)
	h.wake()
}

func (h *Host) wake() {
	select {
	case h.news <- struct{}{}:
	default:
	}
}
