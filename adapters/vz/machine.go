package vz

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// maxDials bounds the connections that are being opened at one time: the framework
// ends none by itself that the guest does not answer.
const maxDials = 1024

// machine is one run of a virtual machine. It implements port.VM, port.Balloon,
// port.Pausing and Pauser.
type machine struct {
	name      domain.MachineName
	config    Configuration // with the machine's identifier
	guest     guest
	begin     func() error // has the processor run
	savable   bool
	console   *console // nil for none
	link      *os.File // nil for none
	info      domain.HypervisorInfo
	memory    domain.MiB
	minMemory domain.MiB
	stop      time.Duration
	log       *slog.Logger

	kill    chan struct{} // holds one wish to stop
	running chan struct{} // closed when the processor runs
	down    chan struct{} // closed when nothing may be asked of the guest any more
	done    chan struct{}
	err     error // set before done is closed

	pause      *pause
	transition chan struct{} // full while the machine goes to another state on demand

	mu      sync.Mutex
	dialing int
	calls   sync.WaitGroup // of the guest, begun before the machine was down
	stopErr error          // of the last attempt to stop
}

var (
	_ port.VM      = (*machine)(nil)
	_ port.Balloon = (*machine)(nil)
)

// Info says how the machine really runs.
func (m *machine) Info() domain.HypervisorInfo { return m.info }

// Done is closed when the machine is down and its console and its end of the
// network are closed.
func (m *machine) Done() <-chan struct{} { return m.done }

// Err says why the machine went down, nil while it has not.
func (m *machine) Err() error {
	select {
	case <-m.done:
		return m.err
	default:
		return nil
	}
}

// Kill has the framework stop the machine. Where that fails, the machine goes on,
// Kill says so when ctx ends, and another Kill tries again: no other
// program can end a machine of the framework.
func (m *machine) Kill(ctx context.Context) error {
	m.wantStop()
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopErr != nil {
		return fmt.Errorf("waiting for the machine's end after a kill: %w: %w", contextError(ctx), m.stopErr)
	}
	return fmt.Errorf("waiting for the machine's end after a kill: %w", contextError(ctx))
}

func (m *machine) wantStop() {
	select {
	case m.kill <- struct{}{}:
	default: // the wish is there already
	}
}

func (m *machine) noteStop(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopErr = err
}

// Dial opens a stream to a vsock port of the guest.
func (m *machine) Dial(ctx context.Context, port uint32) (port.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dialling vsock port %d: %w", port, contextError(ctx))
	}
	if err := m.enterDial(); err != nil {
		return nil, fmt.Errorf("dialling vsock port %d: %w", port, err)
	}
	answers := make(chan dialAnswer)
	gone := make(chan struct{})
	defer close(gone)
	go m.dial(port, answers, gone)
	select {
	case a := <-answers:
		if a.err == nil {
			return a.stream, nil
		}
		if m.isDown() {
			return nil, fmt.Errorf("%w: %w", domain.ErrNotRunning, a.err)
		}
		return nil, dialError(port, a.err)
	case <-m.down:
		return nil, fmt.Errorf("dialling vsock port %d: %w", port, domain.ErrNotRunning)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an answer of vsock port %d: %w", port, contextError(ctx))
	}
}

type dialAnswer struct {
	stream port.Stream
	err    error
}

// dial waits for the framework, which cannot be interrupted. A stream that comes when
// its caller is gone is closed.
func (m *machine) dial(port uint32, answers chan<- dialAnswer, gone <-chan struct{}) {
	defer m.leaveDial()
	stream, err := m.guest.Connect(port)
	select {
	case answers <- dialAnswer{stream, err}:
	case <-gone:
		if err == nil {
			stream.Close()
		}
	}
}

func (m *machine) enterDial() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.isDown():
		return domain.ErrNotRunning
	case m.dialing == maxDials:
		return fmt.Errorf("%d connections wait for the guest: %w", maxDials, domain.ErrUnavailable)
	}
	m.dialing++
	m.calls.Add(1)
	return nil
}

func (m *machine) leaveDial() {
	m.mu.Lock()
	m.dialing--
	m.mu.Unlock()
	m.calls.Done()
}

func (m *machine) isDown() bool {
	select {
	case <-m.down:
		return true
	default:
		return false
	}
}

// SetMemory asks the guest's balloon to leave it this much memory, at most what
// the machine has and at least what the framework allows. The guest follows when it
// can; the return says that it was asked. The framework does not give the pages
// back to the host before the machine ends.
func (m *machine) SetMemory(ctx context.Context, memory domain.MiB) error {
	if memory < 1 || memory > m.memory {
		return fmt.Errorf("memory of %d MiB, want 1 to %d: %w", memory, m.memory, domain.ErrInvalid)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("setting the balloon: %w", contextError(ctx))
	}
	if m.isDown() {
		return domain.ErrNotRunning
	}
	return explain("setting the balloon", m.guest.SetMemory(max(memory, m.minMemory).Bytes()))
}
