package containers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// openBudget bounds one attempt to take a port of the host.
const openBudget = 10 * time.Second

// ownerKind tells owners apart whose names could be the same.
type ownerKind uint8

const (
	byContainer ownerKind = iota // a container, by the facade
	byLease                      // a proxy in the guest
	byListeners                  // the sockets of containers in the guest's own network
)

type ownerKey struct {
	kind ownerKind
	id   string
}

// hostPort is what two rules share that can overlap.
type hostPort struct {
	protocol domain.Protocol
	port     uint16
}

func hostPortOf(r domain.ForwardRule) hostPort { return hostPort{r.Protocol, r.Host.Port()} }

// forward is one wanted port of the host.
type forward struct {
	run   *forwardRun
	owner ownerKey
	rule  domain.ForwardRule
	turn  chan struct{} // holds one while somebody opens or closes it
	freed chan struct{} // closed when it is out of the table and its port is free

	// under Forwards.mu
	gone   bool     // nobody wants it any more: it is never opened again
	later  bool     // nobody waits for its first attempt, which the run makes
	trying bool     // the run makes an attempt
	holds  bool     // its port is open, or about to be
	behind *forward // the one of ours that had its port at the last attempt
	cancel context.CancelFunc
	opened port.Forward
	state  domain.ForwardState // "" until the first attempt is over
	reason string
	since  time.Time
	tries  int       // attempts that failed
	due    time.Time // of the next attempt, in state conflict
}

// add puts a wanted port into the table. f.mu is held.
func (f *Forwards) add(run *forwardRun, by ownerKey, rule domain.ForwardRule) (*forward, error) {
	if run.over {
		return nil, fmt.Errorf("forward %s: %w", rule, domain.ErrNotRunning)
	}
	if len(f.entries) >= maxForwards {
		return nil, fmt.Errorf("forward %s: there are %d already: %w", rule, maxForwards, domain.ErrUnavailable)
	}
	e := &forward{run: run, owner: by, rule: rule, turn: make(chan struct{}, 1), freed: make(chan struct{})}
	f.entries[e] = struct{}{}
	at := hostPortOf(rule)
	if f.byPort[at] == nil {
		f.byPort[at] = map[*forward]struct{}{}
	}
	f.byPort[at][e] = struct{}{}
	return e, nil
}

// remove takes it out again. f.mu is held.
func (f *Forwards) remove(e *forward) {
	delete(f.entries, e)
	at := hostPortOf(e.rule)
	delete(f.byPort[at], e)
	if len(f.byPort[at]) == 0 {
		delete(f.byPort, at)
	}
}

// take marks the entries that which chooses as unwanted and returns them, also
// those that somebody is closing already.
func (f *Forwards) take(which func(*forward) bool) []*forward {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeLocked(which)
}

func (f *Forwards) takeLocked(which func(*forward) bool) []*forward {
	var taken []*forward
	for e := range f.entries {
		if which(e) {
			e.gone = true
			taken = append(taken, e)
		}
	}
	if len(taken) > 0 {
		f.notify()
	}
	return taken
}

// closeAll closes unwanted entries and returns when their ports are free.
func (f *Forwards) closeAll(taken []*forward) {
	var all sync.WaitGroup
	for _, e := range taken {
		all.Go(func() { f.close(e) })
	}
	all.Wait()
}

func (f *Forwards) close(e *forward) {
	f.mu.Lock()
	if e.cancel != nil {
		e.cancel()
	}
	f.mu.Unlock()
	e.turn <- struct{}{} // an attempt under way ends: it is cancelled
	defer func() { <-e.turn }()
	f.mu.Lock()
	opened := e.opened
	e.opened = nil
	f.mu.Unlock()
	if opened != nil {
		if err := opened.Close(); err != nil {
			f.log.Warn("close a forward", "rule", e.rule.String(), "error", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.entries[e]; !there {
		return
	}
	f.remove(e)
	e.holds = false
	close(e.freed)
	f.retryBehind(e)
	f.notify()
}

// retryBehind has those try again that e, which holds its port no more, kept
// away. What others keep away is not among them: two that exclude each other
// would have each other try without a pause. f.mu is held.
func (f *Forwards) retryBehind(e *forward) {
	for o := range f.byPort[hostPortOf(e.rule)] {
		if o.behind == e && o.state == domain.ForwardConflict && !o.gone {
			o.due = time.Now()
			o.run.nudge()
		}
	}
}

// open makes one attempt to take e's port.
func (f *Forwards) open(ctx context.Context, e *forward) error {
	ctx, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return fmt.Errorf("forward %s: %w: %w", e.rule, contextKind(ctx), context.Cause(ctx))
	}
	if err := f.reserve(ctx, e, cancel); err != nil {
		return err
	}
	opened, err := e.run.open(ctx, e.rule)
	f.mu.Lock()
	defer f.mu.Unlock()
	e.cancel = nil
	e.opened = opened
	e.holds = err == nil
	if err != nil {
		e.opened = nil
		f.retryBehind(e)
	}
	return err
}

// reserve says that e is about to hold its port, unless another of ours does.
// One that is being given back is waited for: a port can be published again the
// moment it is released.
func (f *Forwards) reserve(ctx context.Context, e *forward, cancel context.CancelFunc) error {
	for {
		f.mu.Lock()
		e.cancel = cancel
		if e.gone || e.run.over {
			f.mu.Unlock()
			return fmt.Errorf("forward %s: it was given up: %w", e.rule, domain.ErrCanceled)
		}
		holder := f.holder(e)
		e.behind = holder
		if holder == nil {
			e.holds = true
			f.mu.Unlock()
			return nil
		}
		if !holder.gone {
			named := holder.run.known.Named(domain.ForwardStatus{Rule: holder.rule})
			f.mu.Unlock()
			return domain.ForwardHeld(e.rule, named.Rule, named.Container)
		}
		f.mu.Unlock()
		select {
		case <-holder.freed:
		case <-ctx.Done():
			return fmt.Errorf("forward %s: waiting until %s is free: %w: %w", e.rule, holder.rule, contextKind(ctx), context.Cause(ctx))
		}
	}
}

// holder returns the entry that e's port must wait for, one that stays rather
// than one that goes. f.mu is held.
func (f *Forwards) holder(e *forward) *forward {
	var going *forward
	for o := range f.byPort[hostPortOf(e.rule)] {
		if o == e || !o.holds || !o.rule.Overlaps(e.rule) {
			continue
		}
		if !o.gone {
			return o
		}
		going = o
	}
	return going
}

// settle notes how an attempt ended. Where a client waits, a failure is its own
// and the entry goes; else it is the entry's state.
func (f *Forwards) settle(e *forward, err error, waited bool) error {
	f.mu.Lock()
	if err != nil && (waited || e.gone || e.run.over) {
		e.gone = true
		f.mu.Unlock()
		f.close(e)
		return err
	}
	before := e.state
	e.state, e.reason, e.trying = domain.ForwardStateFor(err), "", false
	if err != nil {
		e.reason = text(err)
		e.tries++
		e.due = time.Now().Add(domain.ForwardPause(e.tries))
		if e.behind != nil && !e.behind.holds { // its port came free meanwhile
			e.due = time.Now()
		}
	}
	if e.state != before {
		e.since = time.Now()
		f.notify()
	}
	if e.state == domain.ForwardConflict {
		e.run.nudge()
	}
	state, reason := e.state, e.reason
	f.mu.Unlock()
	switch {
	case state == domain.ForwardConflict && before != state:
		f.tell(domain.EventForwardConflict, e, reason)
	case state == domain.ForwardActive && before == domain.ForwardConflict:
		f.tell(domain.EventForwardRecovered, e, e.rule.String())
	}
	return nil
}

// text is an error as a state's reason, with what the user can do.
func text(err error) string {
	s := err.Error()
	if hint := domain.Hint(err); hint != "" {
		s += " (" + hint + ")"
	}
	return domain.Printable(s, 500)
}
