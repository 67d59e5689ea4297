package vz

import (
	"context"
	"sync"

	"arcbox/application/port"
)

// Pauser is implemented by all machines of this package: the host can have them
// stand still. What is under way when a context ends goes on, the framework cannot
// be interrupted; a Kill waits for it.
//
// Errors: domain.ErrInvalidState for a machine that is not in a state for it,
// domain.ErrNotRunning for one that is down.
type Pauser interface {
	// Pause stops the processor. The machine keeps its memory and its connections.
	Pause(ctx context.Context) error
	// Resume lets a paused machine go on.
	Resume(ctx context.Context) error
}

var (
	_ Pauser       = (*machine)(nil)
	_ port.Pausing = (*machine)(nil)
)

// Pause implements Pauser.
func (m *machine) Pause(ctx context.Context) error {
	return m.transit(ctx, "pausing the machine", m.guest.Pause)
}

// Resume implements Pauser.
func (m *machine) Resume(ctx context.Context) error {
	return m.transit(ctx, "resuming the machine", m.guest.Resume)
}

// Paused implements port.Pausing: nobody must count a machine as lost because it
// stands still.
func (m *machine) Paused() (why string, changed <-chan struct{}) {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	return m.pause.why, m.pause.changed
}

// pause is why a machine stands still, and who waits for that to change.
type pause struct {
	mu      sync.Mutex
	why     string
	changed chan struct{}
}

func newPause() *pause { return &pause{changed: make(chan struct{})} }

func (p *pause) set(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == why {
		return
	}
	p.why = why
	close(p.changed)
	p.changed = make(chan struct{})
}

// standstill says why a machine in a state does not run, "" for one that does, or is down.
func standstill(s state) string {
	switch s {
	case statePausing, statePaused, stateResuming:
		return "the virtual machine is paused"
	case stateSaving:
		return "the state of the virtual machine is being saved"
	case stateRestoring:
		return "the virtual machine is being restored"
	default:
		return ""
	}
}
