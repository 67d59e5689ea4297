package containers

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

const (
	// rewatch is the pause before an engine is watched again whose watch failed
	// while its run goes on.
	rewatch = time.Second
	// maxBehind bounds the networks that a guest can have behind it.
	maxBehind = 1024
)

// Network makes ports and names of containers appear on the host, and changes
// of the host's files in containers, for as long as their machines run.
type Network struct {
	engines  *Engines
	forwards *Forwards
	names    *Names
	watches  *Watches
	sockets  *Sockets
	watcher  port.ContainerWatcher
	log      *slog.Logger
}

// NetworkParts is what a Network is made of. All are required but Watches and
// Sockets: without them changes on the host do not reach containers' watchers,
// and containers reach no sockets of the host.
type NetworkParts struct {
	Engines  *Engines
	Forwards *Forwards
	Names    *Names
	Watches  *Watches
	Sockets  *Sockets
	Watcher  port.ContainerWatcher
	Log      *slog.Logger
}

// NewNetwork returns a network of the engines' machines that does nothing until
// Run.
func NewNetwork(p NetworkParts) *Network {
	return &Network{engines: p.Engines, forwards: p.Forwards, names: p.Names, watches: p.Watches, sockets: p.Sockets, watcher: p.Watcher, log: p.Log}
}

// Run serves every run of every machine until ctx ends, and returns when
// nothing of them is left: no port, no name.
func (n *Network) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, b := range n.engines.roles {
		all.Go(func() { n.follow(ctx, b) })
	}
	all.Wait()
}

func (n *Network) follow(ctx context.Context, b *backend) {
	var now *served
	defer func() { now.end() }()
	for {
		s := b.vm.Snapshot()
		// A guest that is being stopped is served to its end: its containers are, too.
		if now != nil && (closed(now.run.Done()) || s.Instance != nil && s.Instance != now.run) {
			now.end()
			now = nil
			continue // ending takes time: look again
		}
		if now == nil && s.Instance != nil && !closed(s.Instance.Done()) {
			now = n.serve(ctx, b, s.Instance, s.Status.Machine)
		}
		var gone <-chan struct{}
		if now != nil {
			gone = now.run.Done()
			if b.ready(s) != nil {
				now.watch()
			}
		}
		select {
		case <-s.Changed:
		case <-gone:
		case <-ctx.Done():
			return
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// served is one run that is being served.
type served struct {
	network  *Network
	role     domain.Role
	run      *lifecycle.Instance
	engine   *engine
	forwards *forwardRun
	watches  *watchRun // nil when nothing is to be watched
	log      *slog.Logger
	cancel   context.CancelFunc
	watch    func() // follows the engine's containers; only the first call counts
	wg       sync.WaitGroup
}

func (n *Network) serve(ctx context.Context, b *backend, run *lifecycle.Instance, machine domain.MachineName) *served {
	ctx, cancel := context.WithCancel(ctx)
	s := &served{network: n, role: b.role, run: run, engine: &engine{run: run, port: b.options.DockerPort}, cancel: cancel,
		forwards: n.forwards.begin(b.role, machine, run.Link()), log: n.log.With("machine", string(machine)),
		watches: n.watches.begin(machine, run.Session())}
	s.watch = sync.OnceFunc(func() { s.wg.Go(func() { s.follow(ctx) }) })
	s.wg.Go(func() { s.forwards.retry(ctx) })
	if s.watches != nil {
		s.wg.Go(func() { s.watches.run(ctx) })
	}
	if n.sockets != nil {
		s.wg.Go(func() { n.sockets.Run(ctx, run.Session()) })
	}
	if source, ok := run.Session().(port.ForwardSource); ok {
		s.wg.Go(func() {
			if err := source.Forwards(ctx, s.forwards); err != nil && ctx.Err() == nil && !closed(run.Done()) {
				s.log.Info("the guest's requests for ports ended", "error", err)
			}
		})
	}
	return s
}

// end takes everything of the run away and returns when nothing is left.
func (s *served) end() {
	if s == nil {
		return
	}
	s.cancel()
	s.forwards.end()
	s.wg.Wait()
	s.network.names.forget(s.role)
}

// follow keeps names, and what lies behind the guest, as the engine has them.
func (s *served) follow(ctx context.Context) {
	s.behind(nil)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		err := s.network.watcher.Watch(ctx, s.engine, s.learn)
		if ctx.Err() != nil || closed(s.run.Done()) {
			return
		}
		s.log.Warn("watching the engine's containers ended", "error", err, "again_in", rewatch)
		pause.Reset(rewatch)
		select {
		case <-pause.C:
		case <-s.run.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

func (s *served) learn(c domain.ContainerChange) error {
	if c.Networks != nil {
		s.behind(c.Networks)
	}
	s.forwards.learn(c)
	s.watches.learn(c)
	s.network.names.learn(s.role, c)
	return nil
}

// behind tells the machine's network which addresses are containers'. One that
// it refuses does not take the others away.
func (s *served) behind(networks []netip.Prefix) {
	link, ok := s.run.Link().(port.Surroundings)
	if !ok {
		return
	}
	good := domain.ContainerPools()
	var more []netip.Prefix
	for _, p := range networks[:min(len(networks), maxBehind)] {
		if p = p.Masked(); p.IsValid() && !slices.ContainsFunc(good, func(pool netip.Prefix) bool { return covers(pool, p) }) {
			more = append(more, p)
		}
	}
	err := link.SetBehind(slices.Concat(good, more))
	if err == nil {
		return
	}
	for _, p := range more {
		if err := link.SetBehind(append(slices.Clip(good), p)); err != nil {
			s.log.Warn("a network of the engine cannot be reached from the host", "network", p.String(), "error", err)
			continue
		}
		good = append(good, p)
	}
	if len(more) == 0 {
		s.log.Warn("the containers' networks cannot be reached from the host", "error", err)
	}
}

func covers(pool, p netip.Prefix) bool { return pool.Overlaps(p) && pool.Bits() <= p.Bits() }
