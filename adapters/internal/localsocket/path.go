// Package localsocket makes the Unix sockets that the daemon serves: at a path
// that a socket can have, in a directory of the user's own, and answering
// nobody but that user.
package localsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"arcbox/domain"
)

// CheckPath refuses, as domain.ErrInvalid with a hint, a path that no Unix
// socket can have on this host.
func CheckPath(path string) error {
	// sun_path, less its terminating zero.
	limit := len(syscall.RawSockaddrUnix{}.Path) - 1
	var err error
	switch {
	case path == "":
		err = fmt.Errorf("the socket has no path: %w", domain.ErrInvalid)
	case len(path) > limit:
		err = fmt.Errorf("socket path %q has %d bytes, more than the %d that a Unix socket can have: %w", path, len(path), limit, domain.ErrInvalid)
	}
	return domain.WithHint(err, "choose a shorter directory with --data-dir") // of no error it is none
}

// MakePrivate makes dir with mode 0700, or takes it away from everybody else
// when it is there. It is for directories that are ArcBox's own.
func MakePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// checkDir makes dir with mode 0700. One that is there is the user's and stays
// as it is, but is refused when others could put their own socket into it.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("directory of the socket: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		err := fmt.Errorf("directory %q can be written by other users: %w", dir, domain.ErrPermission)
		return domain.WithHint(err, "choose a directory of your own with --data-dir or docker.socket_path")
	}
	return nil
}

// removeStale deletes the socket that an earlier run left, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		err := fmt.Errorf("%q is in the way of a socket, and is none: %w", path, domain.ErrAlreadyExists)
		return domain.WithHint(err, "move it away")
	}
	// A connect over a Unix socket is answered by the kernel, so it is quick
	// however busy the other side is.
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("somebody answers on %q: %w", path, domain.ErrAlreadyRunning)
	case errors.Is(err, syscall.EAGAIN): // its backlog is full
		return fmt.Errorf("somebody busy listens on %q: %w", path, domain.ErrAlreadyRunning)
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what an earlier run left: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("ask who owns %q: %w", path, err)
}
