//go:build linux

package vsock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/vsock"

	"arcbox/application/port"
	"arcbox/domain"
)

// redialDelay is the pause between attempts to reach a guest whose driver is
// not up. The kernel itself waits two seconds in an attempt once it knows the
// context id, so only the time before that is filled with attempts.
const redialDelay = 50 * time.Millisecond

// kernelDevice is a device that the host kernel serves.
type kernelDevice struct {
	cid uint32

	mu      sync.Mutex
	streams map[*kernelStream]struct{} // nil when closed
	closed  chan struct{}
}

func newKernelDevice(cid uint32) *kernelDevice {
	return &kernelDevice{cid: cid, streams: map[*kernelStream]struct{}{}, closed: make(chan struct{})}
}

func (d *kernelDevice) CID() uint32 { return d.cid }

func (d *kernelDevice) VhostUser() *os.File { return nil }

// Dial implements port.Dialer.
func (d *kernelDevice) Dial(ctx context.Context, p uint32) (port.Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := d.cancelOnClose(cancel)
	defer stop()
	for {
		c, err := d.connect(ctx, p)
		if err == nil {
			return d.adopt(c, p)
		}
		if d.isClosed() {
			return nil, fmt.Errorf("dial vsock port %d: %w", p, domain.ErrNotRunning)
		}
		err, again := dialError(ctx, err)
		if !again {
			return nil, fmt.Errorf("dial vsock port %d: %w", p, err)
		}
		pause(ctx, redialDelay)
	}
}

func (d *kernelDevice) connect(ctx context.Context, p uint32) (*vsock.Conn, error) {
	if d.isClosed() {
		return nil, domain.ErrNotRunning
	}
	return vsock.DialContext(ctx, d.cid, p, nil)
}

func (d *kernelDevice) isClosed() bool {
	select {
	case <-d.closed:
		return true
	default:
		return false
	}
}

// cancelOnClose ends a dial when the device is closed. The caller calls stop,
// which waits for the watcher.
func (d *kernelDevice) cancelOnClose(cancel context.CancelCauseFunc) (stop func()) {
	end := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-d.closed:
			cancel(domain.ErrNotRunning)
		case <-end:
		}
	})
	return func() {
		close(end)
		watcher.Wait()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// dialError turns an error of connect into one of the port's; again says that
// another attempt may succeed.
//
// The kernel reports a guest's refusal as ECONNRESET, a context id that no
// hypervisor has taken (yet) as ENODEV, and a guest whose driver is not up as
// ETIMEDOUT (net/vmw_vsock/virtio_transport_common.c, af_vsock.c).
func dialError(ctx context.Context, err error) (_ error, again bool) {
	switch {
	case ctx.Err() != nil:
		kind := domain.ErrCanceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = domain.ErrTimeout
		}
		return fmt.Errorf("waiting for the guest's vsock driver to come up: %w: %w", kind, err), false
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED):
		return syscall.ECONNREFUSED, false
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH):
		return err, true
	}
	return err, false
}

func (d *kernelDevice) adopt(c *vsock.Conn, p uint32) (port.Stream, error) {
	s := &kernelStream{Conn: c, device: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.streams == nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial vsock port %d: %w", p, domain.ErrNotRunning)
	}
	d.streams[s] = struct{}{}
	return s, nil
}

// Close ends every stream. It may be called more than once.
func (d *kernelDevice) Close() error {
	d.mu.Lock()
	streams := d.streams
	if streams != nil {
		d.streams = nil
		close(d.closed)
	}
	d.mu.Unlock()
	for s := range streams {
		_ = s.Conn.Close()
	}
	return nil
}

// kernelStream is a stream of the kernel. vsock.Conn has CloseWrite.
type kernelStream struct {
	*vsock.Conn
	device *kernelDevice
}

func (s *kernelStream) Close() error {
	s.device.mu.Lock()
	delete(s.device.streams, s)
	s.device.mu.Unlock()
	return s.Conn.Close()
}
