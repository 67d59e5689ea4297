package agent

import (
	"context"
	"errors"
	"fmt"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// leaseWork is a lease that the guest has. At most one goroutine works on it, so
// a bind and a release of it never run at the same time. The stream's lock
// guards it.
type leaseWork struct {
	lease port.ForwardLease
	busy  bool
	// over says that the guest gave it back. A bind under way is called off, and
	// whoever is busy with it does the rest.
	over    bool
	callOff context.CancelCauseFunc
}

// errGivenBack ends a bind that the guest does not wait for any more.
var errGivenBack = errors.New("the guest gave the port back before it was open")

// bind takes a request for a port. What is wrong with it is answered and
// concerns no other lease; an error ends the stream.
func (f *forwards) bind(ctx context.Context, m *agentv1.ForwardLease) error {
	if err := checkID(m.GetId()); err != nil {
		return err
	}
	l, err := toLease(m)
	if err == nil {
		err = f.begin(ctx, l)
	}
	if err != nil {
		f.answer(m.GetId(), err)
	}
	return nil
}

func (f *forwards) begin(ctx context.Context, l port.ForwardLease) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.leases[l.ID]; w != nil {
		return fmt.Errorf("the guest uses lease %s, which is %s, for %s too: %w", l.ID, w.lease.Rule, l.Rule, domain.ErrProtocol)
	}
	if len(f.leases) >= maxLeases {
		return fmt.Errorf("more than %d ports are published: %w", maxLeases, domain.ErrConflict)
	}
	work, callOff := context.WithCancelCause(ctx)
	w := &leaseWork{lease: l, busy: true, callOff: callOff}
	f.leases[l.ID] = w
	f.running.Go(func() {
		defer callOff(nil)
		err := f.open(work, l)
		f.answer(l.ID, err)
		f.mu.Lock()
		if err != nil {
			delete(f.leases, l.ID)
		}
		w.busy = false
		over := w.over
		f.mu.Unlock()
		switch {
		case over && err == nil:
			f.end(ctx, l.ID)
		case over:
			f.released(l.ID)
		}
	})
	return nil
}

func (f *forwards) open(ctx context.Context, l port.ForwardLease) error {
	ctx, cancel := context.WithTimeout(ctx, bindLimit)
	defer cancel()
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return fmt.Errorf("open %s: %w", l.Rule.Host, endOf(ctx))
	}
	return f.handler.Bind(ctx, l)
}

// release takes the end of a lease. An error ends the stream.
func (f *forwards) release(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	f.mu.Lock()
	w := f.leases[id]
	switch {
	case w == nil:
		f.mu.Unlock()
		f.released(id) // it was refused, as the guest did not know yet
		return nil
	case w.over:
		f.mu.Unlock()
		return nil // it is on its way
	}
	w.over = true
	if w.busy {
		f.mu.Unlock()
		w.callOff(errGivenBack)
		return nil
	}
	w.busy = true
	f.running.Go(func() { f.end(ctx, id) })
	f.mu.Unlock()
	return nil
}

// end frees the host's port. When the stream ends before that, the next one's
// snapshot says that the lease is over.
func (f *forwards) end(ctx context.Context, id string) {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	f.handler.Release(id)
	<-f.slots
	f.mu.Lock()
	delete(f.leases, id)
	f.mu.Unlock()
	f.released(id)
}
