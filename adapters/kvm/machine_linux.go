package kvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// machine is one run of a virtual machine. It implements port.VM and port.Balloon.
type machine struct {
	qemu    *qemu
	device  port.VsockDevice // nil for none
	console *console         // nil for none
	memory  domain.MiB
	info    domain.HypervisorInfo
	quit    time.Duration // Options.QuitTimeout
	rest    time.Duration // storageRetry
	settle  time.Duration // settleTime
	leave   time.Duration // leaveLimit
	pause   *pause
	log     *slog.Logger

	kill     chan struct{} // closed by the first Kill
	killOnce sync.Once
	done     chan struct{}
	err      error // set before done is closed
}

var (
	_ port.VM      = (*machine)(nil)
	_ port.Balloon = (*machine)(nil)
)

// Info says how the machine really runs.
func (m *machine) Info() domain.HypervisorInfo { return m.info }

// Done is closed when QEMU has ended and the vsock device, the console and the
// monitor are closed.
func (m *machine) Done() <-chan struct{} { return m.done }

// Err says why the machine went down, nil while it has not.
func (m *machine) Err() error {
	if !m.isDone() {
		return nil
	}
	return m.err
}

func (m *machine) isDone() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// Kill ends QEMU: by its monitor, and with SIGKILL when that does not help
// within Options.QuitTimeout. The kill goes on when ctx ends first.
func (m *machine) Kill(ctx context.Context) error {
	m.killOnce.Do(func() { close(m.kill) })
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		if m.isDone() { // both: the better news counts
			return nil
		}
		return fmt.Errorf("waiting for QEMU's end after a kill: %w", contextError(ctx))
	}
}

// Dial opens a stream to a vsock port of the guest.
func (m *machine) Dial(ctx context.Context, port uint32) (port.Stream, error) {
	if m.device == nil {
		return nil, fmt.Errorf("dialling port %d of a machine without a vsock device: %w", port, domain.ErrUnsupported)
	}
	if m.down() {
		return nil, domain.ErrNotRunning
	}
	s, err := m.device.Dial(ctx, port)
	if err != nil {
		if m.down() {
			return nil, fmt.Errorf("%w: %w", domain.ErrNotRunning, err)
		}
		return nil, err
	}
	return s, nil
}

func (m *machine) down() bool {
	select {
	case <-m.qemu.exited:
		return true
	case <-m.kill:
		return true
	default:
		return false
	}
}

// SetMemory asks the guest's balloon to leave it this much memory, at most what
// the plan gives. The guest follows when it can; the return says that it was asked.
func (m *machine) SetMemory(ctx context.Context, memory domain.MiB) error {
	if memory < 1 || memory > m.memory {
		return fmt.Errorf("memory of %d MiB, want 1 to %d: %w", memory, m.memory, domain.ErrInvalid)
	}
	args := struct {
		Value uint64 `json:"value"`
	}{memory.Bytes()}
	if err := m.qemu.monitor.Execute(ctx, "balloon", args, nil); err != nil {
		if m.down() {
			return fmt.Errorf("%w: %w", domain.ErrNotRunning, err)
		}
		return fmt.Errorf("setting the balloon: %w", err)
	}
	return nil
}

// contextError says why ctx ended, in the domain's words.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return domain.ErrTimeout
	}
	return fmt.Errorf("%w: %w", domain.ErrCanceled, context.Cause(ctx))
}
