package port

import (
	"context"

	"arcbox/domain"
)

// Hypervisor runs virtual machines.
type Hypervisor interface {
	// Probe finds what this host can run. The verdict is cached by the
	// implementation; it may be called at any time. It returns
	// domain.ErrUnsupported with a hint when no machine can run.
	Probe(ctx context.Context) (domain.HypervisorInfo, error)
	// Start starts a machine and returns when its processor runs; the guest is
	// not up yet. ctx bounds the start only. The caller owns the machine and
	// ends it with Kill.
	Start(ctx context.Context, spec VMSpec) (VM, error)
}

// VMSpec is a plan and the host resources that go with it.
type VMSpec struct {
	Plan domain.VMPlan
	// Link is the machine's network, nil for none. It stays the caller's.
	Link NetworkLink
	// Shares is the wire to the plan's shares, nil where the hypervisor serves
	// them itself, or for none. It stays the caller's.
	Shares ShareLink
}

// VM is one run of a virtual machine.
type VM interface {
	Dialer
	// Info says how the machine really runs; it may differ from an earlier Probe.
	Info() domain.HypervisorInfo
	// Done is closed when the machine is down, for whatever reason, and its
	// resources are released.
	Done() <-chan struct{}
	// Err says why the machine went down: nil after a power-off by the guest or
	// a Kill. It is valid after Done.
	Err() error
	// Kill takes the machine down without asking the guest, returns when it is
	// down or ctx ends, and may be called more than once.
	Kill(ctx context.Context) error
}

// Balloon is implemented by machines that can return memory to the host.
type Balloon interface {
	// SetMemory asks the guest to work with this much memory.
	SetMemory(ctx context.Context, memory domain.MiB) error
}

// Pausing is implemented by machines that the host may have to pause.
type Pausing interface {
	// Paused says in one line why the machine stands still by itself, "" while it
	// runs, and returns a channel that is closed when that changes. A machine that
	// stands still gives no sign of life and is not lost.
	Paused() (why string, changed <-chan struct{})
}
