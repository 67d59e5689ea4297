package tun

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
)

const (
	// lookAgain is for what no event tells, such as a device node that appears.
	lookAgain = time.Minute
	// pause is between two attempts that fail: attaching is an event itself.
	pause = time.Second
)

// Attacher connects the host's device to a guest's network.
type Attacher struct {
	log  *slog.Logger
	node string
}

// NewAttacher returns an Attacher that logs to log.
func NewAttacher(log *slog.Logger) *Attacher { return &Attacher{log: log, node: node} }

// Run keeps the device connected to n while it is there, until ctx ends, which
// must be no later than n. A device that is absent is no error; one that cannot be used
// is one line of the log until that changes.
func (a *Attacher) Run(ctx context.Context, n *usernet.Network) {
	changes, err := watchLinks()
	if err != nil {
		a.log.Warn("a later install of the host's interface will be noticed late", "error", err)
	} else {
		defer changes.Close()
	}
	said := ""
	for ctx.Err() == nil {
		err := a.connect(ctx, n)
		if errors.Is(err, unix.EBADFD) {
			a.log.Info("the way from the host to containers was removed", "interface", Device)
			err = nil
		}
		if err == nil || ctx.Err() != nil {
			said = ""
		} else {
			if text := err.Error(); text != said {
				a.log.Warn("containers have no way from the host by their own addresses", "error", err)
				said = text
			}
			wait(ctx, nil, pause)
		}
		wait(ctx, changes, lookAgain)
	}
}

var (
	errOwner   = errors.New("the interface " + Device + " belongs to another user")
	errForeign = errors.New("the interface " + Device + " is not ArcBox's")
)

// connect runs the device until it or ctx ends; nil at once when there is none
// that is ready.
func (a *Attacher) connect(ctx context.Context, n *usernet.Network) error {
	d, err := inspectDevice()
	switch {
	case err != nil:
		return err
	case d == nil:
		return nil
	case d.Alias == "" || !d.Up || len(d.Addresses) == 0:
		return nil // being made; its way up is an event
	case d.Alias != Alias || !d.Tun:
		return errForeign
	case d.Owner != uint32(os.Geteuid()):
		return errOwner
	}
	dev, err := attach(a.node, Device, d.MTU)
	if errors.Is(err, unix.EBUSY) {
		return errors.Join(errors.New("another daemon has it"), err)
	}
	if err != nil {
		return err
	}
	a.log.Info("containers are reached from the host by their own addresses", "interface", Device, "host", d.Addresses)
	return n.Relay(ctx, dev, d.Addresses)
}

// watchLinks returns a socket that becomes readable when an interface changes
// (rtnetlink(7)).
func watchLinks() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// wait returns when changes can be read, after limit, or when ctx ends. What is
// there to read is thrown away: the state is looked at, not the event.
func wait(ctx context.Context, changes *os.File, limit time.Duration) {
	if changes == nil {
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		return
	}
	_ = changes.SetReadDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = changes.SetReadDeadline(time.Now()) })
	defer stop()
	raw, err := changes.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 16<<10)
	var failed error
	_ = raw.Read(func(fd uintptr) bool {
		for seen := false; ; seen = true {
			switch _, err := unix.Read(int(fd), buf); err {
			case nil, unix.EINTR, unix.ENOBUFS: // the last: events were lost, so look
			case unix.EAGAIN:
				return seen
			default:
				failed = err
				return true
			}
		}
	})
	if failed != nil {
		wait(ctx, nil, limit)
	}
}
