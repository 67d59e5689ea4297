package vz

import (
	"os"

	"arcbox/application/port"
)

// framework is what this package needs of Virtualization.framework.
type framework interface {
	// Facts looks at the host.
	Facts() (facts, error)
	// Build makes a virtual machine that is not started. The files of r stay the
	// caller's and must be open until the machine is down.
	Build(c Configuration, r resources) (guest, error)
}

// resources are the descriptors of a machine. Each is nil where the configuration
// has no device for it.
type resources struct {
	Link                        *os.File
	ConsoleInput, ConsoleOutput *os.File
}

// guest is one virtual machine of the framework. Every method may be called from any
// goroutine: the framework's calls are made on the machine's own queue.
// Failures of the framework are *frameworkError.
type guest interface {
	// Start returns when the processor runs. It has no deadline.
	Start() error
	// Stop takes a running machine down without asking the guest, and returns when
	// it is down. It has no deadline.
	Stop() error
	// Pause stops the processor of a running machine, Resume lets that of a paused one
	// go on. Neither has a deadline.
	Pause() error
	Resume() error
	// Savable says why the machine's state cannot be saved, nil if it can.
	Savable() error
	// Save writes the state of a paused machine to a new file. Restore takes a machine
	// that has not been started to such a state; it is paused then. Neither has a deadline.
	Save(path string) error
	Restore(path string) error
	// Identifier is the machine's own, which a restore needs in the configuration.
	Identifier() []byte
	// States sends the states that the machine takes, in order, none left out.
	States() <-chan state
	// Connect opens a stream to a vsock port. It has no deadline.
	Connect(port uint32) (port.Stream, error)
	// SetMemory sets the balloon's target, bytes.
	SetMemory(bytes uint64) error
	// Release ends what the guest runs in this program. Nothing may be called after it.
	Release()
}

// state is a VZVirtualMachineState.
type state int

// The states that matter here, with the framework's values.
const (
	stateStopped   state = 0
	stateRunning   state = 1
	statePaused    state = 2
	stateError     state = 3
	statePausing   state = 5
	stateResuming  state = 6
	stateSaving    state = 8
	stateRestoring state = 9
)
