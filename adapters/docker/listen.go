package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"arcbox/domain"
)

// listenPrivate binds a Unix socket with mode 0600 in a directory with mode
// 0700. A socket that nobody answers on is what an earlier run left behind
// and is removed; anything else in the way stays.
func listenPrivate(path string) (*net.UnixListener, error) {
	// sun_path, less its terminating zero.
	if limit := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > limit || path == "" {
		err := fmt.Errorf("socket path %q has %d bytes, of at most %d: %w", path, len(path), limit, domain.ErrInvalid)
		return nil, domain.WithHint(err, "choose a shorter directory with --data-dir")
	}
	if err := privateDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for Docker clients: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen for Docker clients: %w", err)
	}
	return l, nil
}

func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the Docker socket: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("directory of the Docker socket: %w", err)
	}
	// A directory that others may write to is not safe for a socket, and one
	// that was here before is not ours to close.
	if info.Mode().Perm()&0o022 != 0 {
		err := fmt.Errorf("directory %q of the Docker socket can be written by other users: %w", dir, domain.ErrPermission)
		return domain.WithHint(err, "choose a directory of your own with --data-dir or docker.socket_path")
	}
	return nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("Docker socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		err := fmt.Errorf("%q is in the way of the Docker socket and is not a socket: %w", path, domain.ErrAlreadyExists)
		return domain.WithHint(err, "move it away")
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("somebody answers on %q: %w", path, domain.ErrAlreadyRunning)
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what an earlier run left: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("ask who owns the Docker socket: %w", err)
}
