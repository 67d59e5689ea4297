package port

import (
	"context"

	"arcbox/domain"
)

// System is what the gRPC API and the daemon's main need (a driving port,
// implemented by application/system).
type System interface {
	// Setup returns the newest status.
	Setup() domain.SetupStatus
	// WatchSetup calls f with the current status and then with every update, in
	// order, none left out, until ctx ends or f fails.
	WatchSetup(ctx context.Context, f func(domain.SetupStatus) error) error
	// VM returns the state of the role's machine.
	VM(role domain.Role) domain.VMStatus
	// StartVM boots the role's machine and waits for its agent.
	StartVM(ctx context.Context, role domain.Role) error
	// StopVM stops the role's machine, by force when asked.
	StopVM(ctx context.Context, role domain.Role, force bool) error
	// Watch calls f with every event until ctx ends or f fails; a slow f is told
	// how many it missed.
	Watch(ctx context.Context, f func(e domain.Event, missed int) error) error
}
