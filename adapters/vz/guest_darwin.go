package vz

import (
	"github.com/Code-Hex/vz/v3"

	"arcbox/application/port"
	"arcbox/domain"
)

// appleGuest is one virtual machine. It implements guest. The library dispatches
// every call to the machine's own queue, as the framework demands.
type appleGuest struct {
	vm      *vz.VirtualMachine
	socket  *vz.VirtioSocketDevice                   // belongs to vm; nil for none
	balloon *vz.VirtioTraditionalMemoryBalloonDevice // belongs to vm; nil for none

	states   chan state
	released chan struct{}
	ended    chan struct{} // closed when forward has returned
}

var _ guest = (*appleGuest)(nil)

func (g *appleGuest) Start() error { return translate(g.vm.Start()) }

func (g *appleGuest) Stop() error { return translate(g.vm.Stop()) }

func (g *appleGuest) States() <-chan state { return g.states }

// forward passes the states on; the library keeps those that nobody has read yet.
func (g *appleGuest) forward() {
	defer close(g.ended)
	changes := g.vm.StateChangedNotify()
	for {
		select {
		case s, ok := <-changes:
			if !ok {
				return
			}
			select {
			case g.states <- state(s):
			case <-g.released:
				return
			}
		case <-g.released:
			return
		}
	}
}

func (g *appleGuest) Connect(number uint32) (port.Stream, error) {
	if g.socket == nil {
		return nil, domain.ErrUnsupported
	}
	conn, err := g.socket.Connect(number)
	if err != nil {
		return nil, translate(err) // not conn: a nil pointer in an interface is not nil
	}
	s, err := halfCloser(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (g *appleGuest) SetMemory(bytes uint64) error {
	if g.balloon == nil {
		return domain.ErrUnsupported
	}
	g.balloon.SetTargetVirtualMachineMemorySize(bytes)
	return nil
}

func (g *appleGuest) Release() {
	close(g.released)
	<-g.ended
}
