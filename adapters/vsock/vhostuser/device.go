//go:build linux

package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

const (
	minCID = 3
	// replyTime bounds the write of a reply to a front-end that does not read.
	replyTime = 10 * time.Second
)

// Device is the vsock device of one virtual machine.
type Device struct {
	log      *slog.Logger
	cid      uint32
	sock     *net.UnixConn // this side
	frontEnd *os.File      // the hypervisor's side
	ctl      *controller
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
	d := &Device{log: log, cid: cid, sock: sock, frontEnd: frontEnd}
	d.ctl = &controller{log: log, cid: uint64(cid)}
	for i := range d.ctl.queues {
		d.ctl.queues[i] = newQueue(i)
		d.ctl.queues[i].onKick = func() {}
	}
	d.mux = newMux(log, cid, d.ctl.queues[rxQueue], d.ctl.queues[txQueue])
	d.ctl.changed = d.mux.refreshState
	d.ctl.reset = d.mux.reset
	d.tasks.Go(d.serve)
	d.tasks.Go(d.mux.reap)
	d.tasks.Go(d.mux.trim)
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
		_ = d.sock.Close()
		d.tasks.Wait()
		_ = d.frontEnd.Close()
	})
	return nil
}

// serve is the control goroutine: it answers the front-end until that goes
// away or breaks the protocol.
func (d *Device) serve() {
	err := d.requests()
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
	d.ctl.release("the device is down")
	_ = d.sock.Close()
}

func (d *Device) requests() error {
	for {
		m, err := readMessage(d.sock)
		if err != nil {
			return err
		}
		if err := d.request(m); err != nil {
			return err
		}
	}
}

func (d *Device) request(m *message) error {
	reply, err := d.ctl.handle(m)
	m.closeFDs()
	d.log.Debug("vhost-user request", "request", uint32(m.req), "bytes", len(m.body), "error", err)
	switch {
	case err != nil && m.req.answers(), err != nil && m.flags&flagNeedReply == 0 && !errors.Is(err, errUnknownRequest):
		return fmt.Errorf("request %d: %w", m.req, err)
	case err != nil && m.flags&flagNeedReply == 0:
		d.log.Warn("unknown vhost-user request", "request", uint32(m.req))
		return nil
	case err != nil:
		d.log.Warn("vhost-user request refused", "request", uint32(m.req), "error", err)
		reply = u64(1)
	case reply == nil && m.flags&flagNeedReply != 0:
		reply = u64(0)
	case reply == nil:
		return nil
	}
	if err := d.sock.SetWriteDeadline(time.Now().Add(replyTime)); err != nil {
		return err
	}
	_, err = d.sock.Write(encodeReply(m.req, reply))
	return err
}
