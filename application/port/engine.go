package port

import (
	"context"

	"arcbox/domain"
)

// Engines is what the Docker API socket needs (a driving port, implemented by
// application/containers).
type Engines interface {
	// EnsureReady boots the role's machine if it is down and returns when its
	// engine answers. It is cheap when it does already. It returns when ctx ends; the
	// error says what was awaited and carries the end of the guest's log.
	EnsureReady(ctx context.Context, role domain.Role) (Engine, error)
	// Peek returns the role's engine if it answers now, without waiting or booting.
	Peek(role domain.Role) (Engine, bool)
	// Known returns what is known of the role's engine, from this run or an
	// earlier one, without waiting or booting.
	Known(role domain.Role) domain.EngineInfo
	// Hold keeps the role's machine from idling until release is called.
	Hold(role domain.Role) (release func())
}

// Engine is the Docker engine of one run of a machine.
type Engine interface {
	// Generation changes with each run; caches are keyed by it.
	Generation() uint64
	// Dial opens a connection to the engine's API. The caller owns it.
	Dial(ctx context.Context) (Stream, error)
	// Gone is closed when this run is over.
	Gone() <-chan struct{}
}
