package containers

import (
	"context"
	"sync"
	"time"

	"arcbox/application/lifecycle"
	"arcbox/domain"
)

// Run follows the machines until ctx ends: it tells when an engine becomes
// ready or goes down, and remembers what is known of it. Requests do not need
// it.
func (e *Engines) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, b := range e.roles {
		all.Go(func() { e.follow(ctx, b) })
	}
	all.Wait()
}

func (e *Engines) follow(ctx context.Context, b *backend) {
	var up *lifecycle.Instance // the run whose engine was announced
	for {
		s := b.vm.Snapshot()
		engine := b.ready(s)
		if up != nil && (engine == nil || engine.run != up) {
			e.tell(domain.EventEngineDown, s, "")
			up = nil
		}
		if engine != nil {
			info := b.remember(s.Status.Guest)
			if up == nil {
				e.tell(domain.EventEngineReady, s, info.Version)
				up = engine.run
			}
		}
		var gone <-chan struct{}
		if up != nil {
			gone = up.Done()
		}
		select {
		case <-s.Changed:
		case <-gone:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engines) tell(kind domain.EventKind, s *lifecycle.Snapshot, detail string) {
	e.log.Info("engine", "event", string(kind), "machine", string(s.Status.Machine), "version", detail)
	e.events.Publish(domain.Event{Kind: kind, Machine: s.Status.Machine, Time: time.Now(), Detail: detail})
}

// remember keeps what a ready engine says of itself, and saves what is new.
func (b *backend) remember(g domain.GuestStatus) domain.EngineInfo {
	old := *b.known.Load()
	now := merge(old, domain.EngineInfoOf(g))
	now.Ready = false
	if now != old {
		b.known.Store(&now)
		if b.memory != nil {
			b.memory.Save(now)
		}
	}
	return now
}
