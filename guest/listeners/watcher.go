//go:build linux

// Package listeners finds the listening sockets of the containers that share
// the guest's own network (--network host), so that the host can lead there
// too.
package listeners

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"arcbox/domain"
	"arcbox/guest/boot"
)

const (
	// period is how late a new listener may be seen. Nobody tells of one; the
	// look takes a fraction of a millisecond of real hardware, and there is none
	// while no such container runs.
	period = 250 * time.Millisecond
	// maxSockets bounds what is told, as the host does.
	maxSockets = 4096
)

// Watcher looks for sockets while there are containers to have them.
type Watcher struct {
	report func([]domain.GuestListener)
	log    *slog.Logger

	mu         sync.Mutex
	containers []string
	changed    chan struct{}
}

// New returns a watcher that tells report all sockets whenever they changed.
func New(report func([]domain.GuestListener), log *slog.Logger) *Watcher {
	return &Watcher{report: report, log: log, changed: make(chan struct{}, 1)}
}

// SetContainers replaces the full ids of the containers that share the guest's
// network. It may be called by any goroutine and does not wait.
func (w *Watcher) SetContainers(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Equal(w.containers, ids) {
		return
	}
	w.containers = slices.Clone(ids)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Run looks until ctx ends. It is called once.
func (w *Watcher) Run(ctx context.Context) {
	var told []domain.GuestListener
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
		told = w.follow(ctx, told)
	}
}

// follow looks until there are no containers or ctx ends, and returns what was
// told last.
func (w *Watcher) follow(ctx context.Context, told []domain.GuestListener) []domain.GuestListener {
	d, err := openDiag()
	if err != nil {
		w.log.Error("listeners of host-network containers not found", "error", err)
		return told
	}
	defer d.close()
	tick := time.NewTicker(period)
	defer tick.Stop()
	complained := false
	for o := w.owners(); ; {
		var now []domain.GuestListener
		sockets, err := []socket(nil), error(nil)
		if len(o.containers) > 0 {
			sockets, err = d.waiting()
		}
		switch {
		case err == nil:
			now = o.listeners(sockets)
			if !slices.Equal(now, told) {
				w.report(now)
				told = now
			}
		case !complained:
			complained = true
			w.log.Error("listeners of host-network containers not found", "error", err)
		}
		if len(o.containers) == 0 {
			return told
		}
		select {
		case <-ctx.Done():
			return told
		case <-w.changed:
			o = w.owners()
		case <-tick.C:
		}
	}
}

func (w *Watcher) owners() *owners {
	w.mu.Lock()
	containers := w.containers // replaced, never changed
	w.mu.Unlock()
	return newOwners(cgroupRoot, containers)
}

// listeners returns the sockets that belong to containers, sorted, each once.
func (o *owners) listeners(sockets []socket) []domain.GuestListener {
	o.settle(sockets)
	var out []domain.GuestListener
	for _, s := range sockets {
		owner := o.known[s.cgroup]
		// A UDP client that waits for an answer looks like a server, but for the
		// port that it did not choose.
		if owner == "" || s.protocol == domain.UDP && boot.EphemeralPorts().Has(s.addr.Port()) {
			continue
		}
		out = append(out, domain.GuestListener{Container: owner, Protocol: s.protocol, Addr: s.addr, DualStack: s.dual})
	}
	slices.SortFunc(out, func(a, b domain.GuestListener) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Container, b.Container))
	})
	// Several processes may share a port (SO_REUSEPORT).
	out = slices.CompactFunc(out, func(a, b domain.GuestListener) bool {
		return a.Addr == b.Addr && a.Protocol == b.Protocol && a.Container == b.Container
	})
	return out[:min(len(out), maxSockets)]
}
