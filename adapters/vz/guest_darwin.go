package vz

import (
	"fmt"
	"runtime"

	"github.com/Code-Hex/vz/v3"

	"arcbox/application/port"
	"arcbox/domain"
)

// appleGuest is one virtual machine. It implements guest. The library dispatches
// every call to the machine's own queue, as the framework demands, and answers on
// channels with room: nothing of this package runs on that queue. The library
// releases the machine when vm is collected, so that everything that uses a device of
// it must keep it. The library's channel for a lost network is left alone: its goroutine
// would keep the machine for good.
type appleGuest struct {
	vm         *vz.VirtualMachine
	identifier []byte
	savable    error
	socket     *vz.VirtioSocketDevice                   // belongs to vm; nil for none
	balloon    *vz.VirtioTraditionalMemoryBalloonDevice // belongs to vm; nil for none

	states   chan state
	released chan struct{}
	ended    chan struct{} // closed when forward has returned
}

var _ guest = (*appleGuest)(nil)

// newAppleGuest finds the devices that are used while the machine runs.
func newAppleGuest(machine *vz.VirtualMachine, c Configuration, v *vz.VirtualMachineConfiguration, identifier []byte) (*appleGuest, error) {
	g := &appleGuest{vm: machine, identifier: identifier, savable: translate(checkSavable(v)),
		states: make(chan state), released: make(chan struct{}), ended: make(chan struct{})}
	if c.Vsock {
		sockets := machine.SocketDevices()
		if len(sockets) != 1 {
			return nil, fmt.Errorf("the machine has no vsock device: %w", domain.ErrUnavailable)
		}
		g.socket = sockets[0]
	}
	if c.Balloon {
		balloons := machine.MemoryBalloonDevices()
		if len(balloons) != 1 {
			return nil, fmt.Errorf("the machine has no balloon: %w", domain.ErrUnavailable)
		}
		if g.balloon = vz.AsVirtioTraditionalMemoryBalloonDevice(balloons[0]); g.balloon == nil {
			return nil, fmt.Errorf("the machine's balloon is of another kind: %w", domain.ErrUnavailable)
		}
		// The device belongs to the machine, and the library releases it all the
		// same when this value is collected: a release too many, which would end
		// the program.
		runtime.SetFinalizer(g.balloon, nil)
	}
	go g.forward() // ends with Release
	return g, nil
}

func (g *appleGuest) Start() error { return translate(g.vm.Start()) }

func (g *appleGuest) Stop() error { return translate(g.vm.Stop()) }

func (g *appleGuest) Pause() error { return translate(g.vm.Pause()) }

func (g *appleGuest) Resume() error { return translate(g.vm.Resume()) }

func (g *appleGuest) Savable() error { return g.savable }

func (g *appleGuest) Save(path string) error { return translate(saveState(g.vm, path)) }

func (g *appleGuest) Restore(path string) error { return translate(restoreState(g.vm, path)) }

func (g *appleGuest) Identifier() []byte { return g.identifier }

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
	runtime.KeepAlive(g) // the socket belongs to the machine and does not keep it
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
	runtime.KeepAlive(g)
	return nil
}

func (g *appleGuest) Release() {
	close(g.released)
	<-g.ended
}
