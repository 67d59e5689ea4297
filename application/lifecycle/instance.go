package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"

	"arcbox/application/port"
)

// Instance is one run of a machine, from its agent's hello to its end. It is
// valid for ever; after Done it only fails.
type Instance struct {
	generation uint64
	vm         port.VM
	session    port.AgentSession
	link       port.NetworkLink
	ended      atomic.Bool
	once       sync.Once
	done       chan struct{}
}

func newInstance(generation uint64, vm port.VM, session port.AgentSession, link port.NetworkLink) *Instance {
	return &Instance{generation: generation, vm: vm, session: session, link: link, done: make(chan struct{})}
}

// Dial opens a stream to a vsock port of the guest; see port.Dialer.
func (i *Instance) Dial(ctx context.Context, port uint32) (port.Stream, error) {
	return i.vm.Dial(ctx, port)
}

// Generation is the run's number: VMStatus.Generation while it lasts.
func (i *Instance) Generation() uint64 { return i.generation }

// Done is closed when the run is over: the machine is down, or its agent lost.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Session is the connection to the guest's agent. It stays the lifecycle's,
// which closes it; callers must not.
func (i *Instance) Session() port.AgentSession { return i.session }

// Link is the machine's network. It stays the lifecycle's, which closes it.
func (i *Instance) Link() port.NetworkLink { return i.link }

func (i *Instance) over() bool { return i.ended.Load() }

func (i *Instance) end() {
	i.once.Do(func() {
		i.ended.Store(true)
		close(i.done)
	})
}
