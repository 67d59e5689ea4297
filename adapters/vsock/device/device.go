//go:build linux

package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/domain"
)

const (
	minCID = 3

	// Receive, transmit and event, seen from the guest. The front-end may
	// serve the event queue itself; this device never has an event to send.
	queueCount = 3
	rxQueue    = 0
	txQueue    = 1
)

// Device is the vsock device of one virtual machine.
type Device struct {
	log      *slog.Logger
	cid      uint32
	frontEnd *os.File // the hypervisor's side
	server   *vhostuser.Server
	mux      *mux
	tasks    sync.WaitGroup

	closeOnce sync.Once
}

// New makes a device for a guest with this context id, 3 or larger, and serves
// it until Close. The caller closes it.
func New(log *slog.Logger, cid uint32) (*Device, error) {
	if cid < minCID || cid == 1<<32-1 {
		return nil, fmt.Errorf("vsock context id %d is reserved: %w", cid, domain.ErrInvalid)
	}
	sock, frontEnd, err := socketPair()
	if err != nil {
		return nil, err
	}
	d := &Device{log: log, cid: cid, frontEnd: frontEnd}
	d.server = vhostuser.New(log, sock, vhostuser.Device{
		Name:       "vsock",
		Config:     binary.LittleEndian.AppendUint64(nil, uint64(cid)),
		Queues:     queueCount,
		Negotiated: func(uint64) {},
		Changed:    func() { d.mux.refreshState() },
		Reset:      func(why string) { d.mux.reset(why) },
		Restarted: func(queue int) {
			if queue <= txQueue {
				d.mux.reset("the guest's vsock driver was started again")
			}
		},
	})
	d.mux = newMux(log, cid, d.server.Queue(rxQueue), d.server.Queue(txQueue))
	d.tasks.Go(d.serve)
	d.tasks.Go(d.mux.reap)
	return d, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	frontEnd := os.NewFile(uintptr(fds[1]), "vhost-user-vsock")
	own := os.NewFile(uintptr(fds[0]), "vhost-user-vsock-device")
	conn, err := net.FileConn(own)
	_ = own.Close() // FileConn works on a duplicate
	if err != nil {
		_ = frontEnd.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), frontEnd, nil
}

// CID is the guest's context id.
func (d *Device) CID() uint32 { return d.cid }

// VhostUser is the hypervisor's end of the connection. The device closes it;
// the hypervisor inherits a duplicate.
func (d *Device) VhostUser() *os.File { return d.frontEnd }

// Dial opens a stream to a port of the guest. It waits until the guest's
// driver is up, and then for the guest's answer; ctx bounds both. It returns
// ECONNREFUSED when nobody listens on the port, ECONNRESET when the guest was
// reset before it answered, domain.ErrNotRunning when the device is closed or
// the hypervisor has gone, and a domain.ErrTimeout or domain.ErrCanceled that
// says what was awaited when ctx ended. The caller closes the stream.
func (d *Device) Dial(ctx context.Context, port uint32) (*Stream, error) {
	s, err := d.mux.open(ctx, port)
	if err == nil {
		err = d.awaitAnswer(ctx, s)
	}
	if err != nil {
		return nil, fmt.Errorf("dial vsock port %d: %w", port, err)
	}
	return s, nil
}

func (d *Device) awaitAnswer(ctx context.Context, s *Stream) error {
	select {
	case <-s.opened:
		return d.answer(s)
	case <-ctx.Done():
		d.mux.abort(s, net.ErrClosed)
		return waitError(ctx, "the guest's answer")
	}
}

func (d *Device) answer(s *Stream) error {
	d.mux.mu.Lock()
	closed := d.mux.closed
	d.mux.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.refused:
		return nil
	case closed != nil:
		return closed
	}
	return s.err
}

// Close ends every stream, stops the service and gives the guest's memory
// back. It may be called more than once.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		d.mux.shutDown(domain.ErrNotRunning)
		d.server.Close()
		d.tasks.Wait()
		_ = d.frontEnd.Close()
	})
	return nil
}

// serve answers the front-end until that goes away or breaks the protocol.
func (d *Device) serve() {
	_ = d.server.Serve(func(err error) {
		switch {
		case errors.Is(err, net.ErrClosed):
			err = domain.ErrNotRunning
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("the hypervisor closed its vsock device: %w", domain.ErrNotRunning)
		default:
			d.log.Error("vhost-user-vsock connection ended", "error", err)
			err = fmt.Errorf("the hypervisor's vsock connection ended (%w): %w", err, domain.ErrNotRunning)
		}
		d.mux.shutDown(err)
	})
}
