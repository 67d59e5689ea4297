package kvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"arcbox/adapters/kvm/qmp"
	"arcbox/domain"
)

// exitGrace is how long a QEMU whose monitor is gone may take to exit by
// itself, so that its own exit status is seen and not that of our kill.
const exitGrace = 2 * time.Second

// qemu is a QEMU process and its monitor.
type qemu struct {
	*process
	monitor *qmp.Client
}

// startError is a QEMU that did not come up.
type startError struct {
	err     error
	crashed bool   // a signal that was not ours ended it
	first   string // the first line of its messages
	output  string // the end of its messages
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// startQEMU starts QEMU and returns when its machine is made; arguments gets
// the number of the monitor's descriptor. It takes over the descriptors in
// inherit and closes them. On an error nothing of it is left.
func startQEMU(ctx context.Context, binary string, o Options, inherit *inheritance, arguments func(monitorFD int) []string) (*qemu, error) {
	defer inherit.close()
	conn, remote, err := socketPair("monitor")
	if err != nil {
		return nil, err
	}
	fd := inherit.add(remote)
	p, err := startProcess(binary, arguments(fd), *inherit)
	if err != nil {
		conn.Close()
		return nil, spawnError(err)
	}
	// QEMU's end must be its only one, or its death would not end ours.
	inherit.close()
	monitor, err := connect(ctx, conn, o)
	if err != nil {
		return nil, p.abandon(err)
	}
	return &qemu{p, monitor}, nil
}

// spawnError maps what the kernel says when it cannot execute a file.
func spawnError(err error) error {
	kind := domain.ErrUnavailable
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = domain.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		kind = domain.ErrPermission
	}
	return fmt.Errorf("starting QEMU: %w: %w", err, kind)
}

// connect ends early when QEMU dies, because its end of the socket closes.
func connect(ctx context.Context, conn net.Conn, o Options) (*qmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	return qmp.Connect(ctx, conn, qmp.Options{Limits: o.Limits})
}

// abandon makes sure that a process which did not come up is gone, and explains it.
func (p *process) abandon(cause error) error {
	itself := errors.Is(cause, qmp.ErrDisconnected) && p.waitFor(exitGrace)
	p.kill()
	<-p.exited
	e := &startError{first: p.output.First(), output: p.output.String()}
	if itself {
		e.crashed = p.crashed()
		e.err = fmt.Errorf("QEMU ended while starting (%s)%s: %w", p.status(), quoteStderr(e.output), domain.ErrUnavailable)
	} else {
		e.err = fmt.Errorf("starting QEMU: %w%s", cause, quoteStderr(e.output))
	}
	return e
}
