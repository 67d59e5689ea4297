package containers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// maxForwards bounds the forwards of all machines; guests ask for them.
const maxForwards = 8192

// ForwardOptions is how Forwards behaves.
type ForwardOptions struct {
	// Guest4 and Guest6 are the guests' own addresses, at which containers that
	// share a guest's network are reached. Either may be invalid.
	Guest4, Guest6 netip.Addr
}

// Forwards opens ports of the host for containers, and tells of them. What is
// wanted and what is open are kept in one table: each entry is wanted by one
// owner of one run, and nothing outlives the run.
type Forwards struct {
	options ForwardOptions
	events  port.EventPublisher
	log     *slog.Logger

	// mu is never held across a call of an adapter, so readers do not wait for
	// ports that are being opened or closed.
	mu      sync.Mutex
	runs    map[domain.MachineName]*forwardRun
	entries map[*forward]struct{}
	byPort  map[hostPort]map[*forward]struct{} // the same, by what can overlap
	starts  map[*start]struct{}
	changed chan struct{} // closed when the list is another one
}

var (
	_ port.Forwards = (*Forwards)(nil)
	_ port.Starts   = (*Forwards)(nil)
)

// NewForwards returns a table without forwards.
func NewForwards(o ForwardOptions, events port.EventPublisher, log *slog.Logger) *Forwards {
	return &Forwards{options: o, events: events, log: log, runs: map[domain.MachineName]*forwardRun{},
		entries: map[*forward]struct{}{}, byPort: map[hostPort]map[*forward]struct{}{}, starts: map[*start]struct{}{}, changed: make(chan struct{})}
}

// Start makes rules the forwards that owner, a container's full id, has on a
// machine: what it had besides is closed, also on another machine, and what it
// has already stays open. Without rules it has none. Somebody waits, so a port
// that cannot be had is an error, and then owner has no forwards at all.
// domain.ErrInvalid, for a rule that makes no sense, changes nothing;
// domain.ErrNotRunning means that the machine does not run. Other errors are
// those of port.Forwarder.
func (f *Forwards) Start(ctx context.Context, machine domain.MachineName, owner string, rules []domain.ForwardRule) error {
	wishes := make([]domain.ListenerForward, 0, len(rules))
	for _, r := range rules {
		if err := r.Check(); err != nil {
			return err
		}
		r.Owner = owner
		wishes = append(wishes, domain.ListenerForward{Rule: r})
	}
	f.mu.Lock()
	run, ok := f.runs[machine]
	f.mu.Unlock()
	if !ok {
		return fmt.Errorf("forward ports to machine %s: %w", machine, domain.ErrNotRunning)
	}
	by := ownerKey{byContainer, owner}
	f.closeAll(f.take(func(e *forward) bool { return e.owner == by && e.run != run }))
	missing, err := f.want(run, by, wishes, false)
	for _, e := range missing {
		if err == nil {
			err = f.settle(e, f.open(ctx, e), true)
		}
	}
	if err != nil {
		f.Stop(owner)
	}
	return err
}

// Stop closes all forwards of an owner and returns when their ports are free.
func (f *Forwards) Stop(owner string) {
	by := ownerKey{byContainer, owner}
	f.closeAll(f.take(func(e *forward) bool { return e.owner == by }))
}

// StopAll closes all forwards of a machine and returns when their ports are
// free. The machine may go on, and may have new ones.
func (f *Forwards) StopAll(machine domain.MachineName) {
	f.closeAll(f.take(func(e *forward) bool { return e.run.machine == machine }))
}

// Forwards implements port.Forwards.
func (f *Forwards) Forwards() []domain.ForwardStatus {
	list, _ := f.list()
	return list
}

// WatchForwards implements port.Forwards. It returns ctx's error or f's.
func (f *Forwards) WatchForwards(ctx context.Context, tell func([]domain.ForwardStatus) error) error {
	var told []domain.ForwardStatus
	for first := true; ; first = false {
		list, changed := f.list()
		if first || !slices.EqualFunc(told, list, sameForward) {
			if err := tell(list); err != nil {
				return err
			}
			told = list
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sameForward ignores what is counted, which changes all the time.
func sameForward(a, b domain.ForwardStatus) bool {
	a.Stats, b.Stats = domain.ForwardStats{}, domain.ForwardStats{}
	return a == b
}

// list returns all that is settled, and a channel that is closed when that
// changes.
func (f *Forwards) list() ([]domain.ForwardStatus, <-chan struct{}) {
	f.mu.Lock()
	list := make([]domain.ForwardStatus, 0, len(f.entries))
	opened := make([]port.Forward, 0, len(f.entries))
	for e := range f.entries {
		if e.gone || e.state == "" {
			continue
		}
		list = append(list, e.run.known.Named(domain.ForwardStatus{Rule: e.rule, State: e.state, Reason: e.reason, Since: e.since}))
		opened = append(opened, e.opened)
	}
	changed := f.changed
	f.mu.Unlock()
	for i, o := range opened {
		if o != nil {
			list[i].Stats = o.Stats()
		}
	}
	domain.SortForwards(list)
	return list, changed
}

// notify wakes those who watch. f.mu is held.
func (f *Forwards) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// tell publishes what became of a forward. It is called without f.mu.
func (f *Forwards) tell(kind domain.EventKind, e *forward, detail string) {
	f.log.Info("forward", "event", string(kind), "machine", string(e.run.machine), "rule", e.rule.String(), "detail", detail)
	f.events.Publish(domain.Event{Kind: kind, Machine: e.run.machine, Time: time.Now(), Detail: detail})
}
