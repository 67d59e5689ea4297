// Package containers gives the Docker API socket the engine of a role's
// machine: it boots the machine, waits until the guest has pushed that its
// engine answers, and remembers what is known of it.
package containers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

// EngineMemory keeps what is known of an engine across restarts of the daemon.
type EngineMemory interface {
	// Load returns what was saved last, the zero value without it.
	Load() domain.EngineInfo
	// Save keeps info; it is called seldom and need not succeed.
	Save(info domain.EngineInfo)
}

// Machine is a role's machine.
type Machine struct {
	VM *lifecycle.Actor
	// Memory may be nil.
	Memory EngineMemory
}

// Options is how Engines behaves.
type Options struct {
	// StartupTimeout bounds the wait for an engine in a running guest, made for
	// hardware virtualization; 0 means a minute.
	StartupTimeout time.Duration
	// TCGFactor stretches it where the guest's code is emulated.
	TCGFactor int
	// DockerPort is the guest's vsock port of the Docker API; 0 means domain.PortDocker.
	DockerPort uint32
}

const defaultStartupTimeout = time.Minute

// Engines implements port.Engines.
type Engines struct {
	options Options
	roles   map[domain.Role]*backend
	events  port.EventPublisher
	log     *slog.Logger
}

var _ port.Engines = (*Engines)(nil)

// New returns the engines of machines. A role that is not among them is not
// supported on this host.
func New(o Options, machines map[domain.Role]Machine, events port.EventPublisher, log *slog.Logger) *Engines {
	if o.StartupTimeout <= 0 {
		o.StartupTimeout = defaultStartupTimeout
	}
	if o.DockerPort == 0 {
		o.DockerPort = domain.PortDocker
	}
	e := &Engines{options: o, roles: map[domain.Role]*backend{}, events: events, log: log}
	for role, m := range machines {
		e.roles[role] = newBackend(o, role, m)
	}
	return e
}

// EnsureReady implements port.Engines. Its errors are those of
// lifecycle.Actor.EnsureReady, domain.ErrUnsupported for a role that this host
// does not have, domain.ErrTimeout when the engine did not come up in its time,
// and domain.ErrUnavailable when it cannot, or the run ended meanwhile.
func (e *Engines) EnsureReady(ctx context.Context, role domain.Role) (port.Engine, error) {
	b, err := e.backend(role)
	if err != nil {
		return nil, err
	}
	run, err := b.vm.EnsureReady(ctx)
	if err != nil {
		return nil, err
	}
	if engine := b.ready(b.vm.Snapshot()); engine != nil && engine.run == run {
		return engine, nil
	}
	return b.await(ctx, run)
}

// Peek implements port.Engines.
func (e *Engines) Peek(role domain.Role) (port.Engine, bool) {
	b, ok := e.roles[role]
	if !ok {
		return nil, false
	}
	if engine := b.ready(b.vm.Snapshot()); engine != nil {
		return engine, true
	}
	return nil, false
}

// Known implements port.Engines.
func (e *Engines) Known(role domain.Role) domain.EngineInfo {
	b, ok := e.roles[role]
	if !ok {
		return domain.EngineInfo{}
	}
	info := *b.known.Load()
	if s := b.vm.Snapshot(); b.ready(s) != nil {
		info = merge(info, domain.EngineInfoOf(s.Status.Guest))
	}
	return info
}

// Hold implements port.Engines.
func (e *Engines) Hold(role domain.Role) (release func()) {
	if b, ok := e.roles[role]; ok {
		return b.vm.Hold()
	}
	return func() {}
}

func (e *Engines) backend(role domain.Role) (*backend, error) {
	if b, ok := e.roles[role]; ok {
		return b, nil
	}
	err := fmt.Errorf("this host has no machine for the role %q: %w", role, domain.ErrUnsupported)
	if role == domain.RoleRosetta {
		return nil, domain.WithHint(err, "the rosetta role needs macOS on Apple silicon")
	}
	return nil, err
}
