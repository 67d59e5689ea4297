package containers

import (
	"context"
	"fmt"

	"arcbox/application/port"
	"arcbox/domain"
)

var _ Sessions = (*Engines)(nil)

// Session returns the session with the agent of a role's machine, which is
// booted if it is down; its engine is ready. The machine does not idle until
// release is called. The errors are those of EnsureReady.
func (e *Engines) Session(ctx context.Context, role domain.Role) (session port.AgentSession, release func(), err error) {
	release = e.Hold(role) // before the wait: the machine must not idle between the two
	ready, err := e.EnsureReady(ctx, role)
	if err != nil {
		release()
		return nil, nil, err
	}
	engine, ok := ready.(*engine)
	if !ok || engine.run.Session() == nil {
		release()
		return nil, nil, fmt.Errorf("the machine of the role %q has no agent: %w", role, domain.ErrNotRunning)
	}
	return engine.run.Session(), release, nil
}
