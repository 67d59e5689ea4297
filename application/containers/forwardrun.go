package containers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Bounds on what a guest can ask.
const (
	maxLeases  = 4096
	maxLeaseID = 128
	// opensAtOnce bounds the attempts of one run that nobody waits for. One takes
	// time where the system is asked who has the port.
	opensAtOnce = 8
)

// forwardRun is the forwards of one run of a machine. It implements
// port.ForwardHandler for the guest's agent.
type forwardRun struct {
	forwards  *Forwards
	role      domain.Role
	machine   domain.MachineName
	forwarder port.Forwarder // nil for a network that has none
	wake      chan struct{}  // the retries have a new plan

	// under Forwards.mu
	over  bool
	known domain.Containers
}

var _ port.ForwardHandler = (*forwardRun)(nil)

// begin makes the run's part of the table. The caller ends it, and has retry
// run until then.
func (f *Forwards) begin(role domain.Role, machine domain.MachineName, link port.NetworkLink) *forwardRun {
	r := &forwardRun{forwards: f, role: role, machine: machine, wake: make(chan struct{}, 1)}
	r.forwarder, _ = link.(port.Forwarder)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[machine] = r
	return r
}

// end closes everything of the run and returns when its ports are free.
func (r *forwardRun) end() {
	f := r.forwards
	f.mu.Lock()
	r.over = true
	r.known = domain.Containers{}
	if f.runs[r.machine] == r {
		delete(f.runs, r.machine)
	}
	taken := f.takeLocked(func(e *forward) bool { return e.run == r })
	f.mu.Unlock()
	f.closeAll(taken)
}

func (r *forwardRun) open(ctx context.Context, rule domain.ForwardRule) (port.Forward, error) {
	if r.forwarder == nil {
		return nil, fmt.Errorf("forward %s: the network of machine %s has no ports of the host: %w", rule, r.machine, domain.ErrUnsupported)
	}
	return r.forwarder.Forward(ctx, rule)
}

func (r *forwardRun) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// retry makes the attempts that nobody waits for: the first ones of what the
// guest has already, and those of what is in conflict, whenever they are due.
// It returns when ctx ended and none of them runs.
func (r *forwardRun) retry(ctx context.Context) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	slots := make(chan struct{}, opensAtOnce)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, next := r.due(time.Now())
		for _, e := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			attempts.Go(func() {
				defer func() { <-slots }()
				err := r.forwards.open(ctx, e)
				if err != nil && ctx.Err() != nil {
					return // the run's end takes it away
				}
				_ = r.forwards.settle(e, err, false) // its failure is its state, not this loop's
			})
		}
		var elapsed <-chan time.Time
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			elapsed = timer.C
		}
		select {
		case <-elapsed:
		case <-r.wake:
		case <-ctx.Done():
			return
		}
	}
}

// due returns what is to be tried by now, which the caller does, and when the
// next is; a zero time is never.
func (r *forwardRun) due(now time.Time) (due []*forward, next time.Time) {
	f := r.forwards
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range f.entries {
		switch {
		case e.run != r || e.gone || e.trying:
		case e.later, e.state == domain.ForwardConflict && !e.due.After(now):
			e.later, e.trying = false, true
			due = append(due, e)
		case e.state == domain.ForwardConflict && (next.IsZero() || e.due.Before(next)):
			next = e.due
		}
	}
	return due, next
}

// Bind implements port.ForwardHandler. Where a client waits for the container,
// what keeps the port away is the error; else it is the forward's state.
func (r *forwardRun) Bind(ctx context.Context, l port.ForwardLease) error {
	if err := checkLease(l); err != nil {
		return err
	}
	f, by := r.forwards, ownerKey{byLease, l.ID}
	f.mu.Lock()
	for e := range f.entries {
		if e.run == r && e.owner == by && e.rule == l.Rule && !e.gone && e.state == domain.ForwardActive {
			f.mu.Unlock()
			return nil
		}
	}
	waited := f.waited(r, l.Rule) && !r.hasTwin(l.Rule)
	old := f.takeLocked(func(e *forward) bool { return e.run == r && e.owner == by })
	e, err := f.add(r, by, l.Rule)
	f.mu.Unlock()
	f.closeAll(old)
	if err != nil {
		return err
	}
	err = f.open(ctx, e)
	calledOff := errors.Is(ctx.Err(), context.Canceled) // the guest has no such lease then
	return f.settle(e, err, waited || calledOff)
}

// hasTwin says whether the guest holds the 0.0.0.0 half of a :: rule. The
// engine fails a run for either half, but a host without IPv6, or one whose ::
// is taken, can still serve the first. f.mu is held.
func (r *forwardRun) hasTwin(rule domain.ForwardRule) bool {
	for e := range r.forwards.byPort[hostPortOf(rule)] {
		if e.run == r && !e.gone && e.owner.kind == byLease && rule.TwinOf(e.rule) {
			return true
		}
	}
	return false
}

// Release implements port.ForwardHandler.
func (r *forwardRun) Release(id string) {
	by := ownerKey{byLease, id}
	r.forwards.closeAll(r.forwards.take(func(e *forward) bool { return e.run == r && e.owner == by }))
}

// Reset implements port.ForwardHandler. What the guest holds and the host does
// not is opened after it returned: requests that somebody waits for come behind
// it.
func (r *forwardRun) Reset(leases []port.ForwardLease) {
	f := r.forwards
	wanted := map[ownerKey]domain.ForwardRule{}
	var order []ownerKey
	for _, l := range leases {
		by := ownerKey{byLease, l.ID}
		if err := checkLease(l); err != nil || len(order) == maxLeases {
			f.log.Warn("a lease of the guest is ignored", "machine", string(r.machine), "error", err, "leases", len(leases))
			continue
		}
		if _, twice := wanted[by]; !twice {
			order = append(order, by)
			wanted[by] = l.Rule
		}
	}
	f.mu.Lock()
	old := f.takeLocked(func(e *forward) bool {
		rule, kept := wanted[e.owner]
		return e.run == r && e.owner.kind == byLease && (!kept || rule != e.rule || e.gone)
	})
	have := map[ownerKey]bool{}
	for e := range f.entries {
		if e.run == r && !e.gone {
			have[e.owner] = true
		}
	}
	for _, by := range order {
		if have[by] {
			continue
		}
		e, err := f.add(r, by, wanted[by])
		if err != nil {
			f.log.Warn("a lease of the guest is not served", "machine", string(r.machine), "error", err)
			break
		}
		e.later = true
	}
	f.mu.Unlock()
	f.closeAll(old)
	r.nudge()
}

// Listeners implements port.ForwardHandler. Like Reset, it does not wait for
// ports.
func (r *forwardRun) Listeners(sockets []domain.GuestListener) {
	o := r.forwards.options
	wishes := domain.ListenerForwards(sockets, o.Guest4, o.Guest6)
	if _, err := r.forwards.want(r, ownerKey{kind: byListeners}, wishes, true); err != nil {
		r.forwards.log.Warn("listeners of the guest are not served", "machine", string(r.machine), "error", err)
	}
}

// learn takes news of the run's containers in.
func (r *forwardRun) learn(n domain.ContainerChange) {
	f := r.forwards
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.over {
		return
	}
	r.known.Apply(n)
	f.notify()
}

func checkLease(l port.ForwardLease) error {
	if l.ID == "" || len(l.ID) > maxLeaseID {
		return fmt.Errorf("a lease with an id of %d bytes: %w", len(l.ID), domain.ErrInvalid)
	}
	return l.Rule.Check()
}
