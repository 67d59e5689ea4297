// Package hostsocket connects to Unix sockets of the host's user.
package hostsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Dialer connects to sockets. The zero value is ready for use.
type Dialer struct{}

// busyPause is the wait before a socket is tried again whose owner has not
// accepted the connections before.
const busyPause = 10 * time.Millisecond

// Dial connects to the socket at path, and follows links. The caller owns the
// stream. Nobody there is domain.ErrUnavailable, a missing one domain.ErrNotFound,
// one whose owner does not accept before ctx ends domain.ErrTimeout.
func (Dialer) Dial(ctx context.Context, path string) (port.Stream, error) {
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return c.(*net.UnixConn), nil
		}
		switch {
		case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded): // the dialer may be the first to see it
			return nil, fmt.Errorf("%w: %w", err, endOf(ctx))
		case !errors.Is(err, syscall.EAGAIN):
			return nil, kindOf(err)
		}
		wait := time.NewTimer(busyPause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, fmt.Errorf("connect to %s, whose owner does not accept: %w", path, endOf(ctx))
		}
	}
}

func endOf(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return domain.ErrCanceled
	}
	return domain.ErrTimeout
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w: %w", err, domain.ErrNotFound)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %w", err, domain.ErrPermission)
	}
	return fmt.Errorf("%w: %w", err, domain.ErrUnavailable)
}
