package share

import (
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"arcbox/application/port"
	"arcbox/domain"
)

// Shares shares directories of this host. It implements port.Shares.
type Shares struct {
	log    *slog.Logger
	cache  Cache
	hidden hidden
	budget budget
	writes *guestWrites // of all machines
}

var _ port.Shares = (*Shares)(nil)

// New makes it. The data directory has to exist by then.
func New(o Options) (*Shares, error) {
	h, err := hide(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("hiding the data directory from guests: %w", err)
	}
	return &Shares{log: o.Log, cache: o.Cache, hidden: h, budget: budgetOf(descriptorLimit()), writes: newWrites()}, nil
}

// Open implements port.Shares.
func (s *Shares) Open(name domain.MachineName, shares []domain.Share) (port.ShareLink, error) {
	var dirs []directory
	for _, sh := range shares {
		fd, err := openShare(sh.Path)
		if err != nil {
			closeDirectories(dirs)
			return nil, fmt.Errorf("sharing %s with machine %q: %w", sh.Path, name, err)
		}
		dirs = append(dirs, directory{fd: fd, readOnly: sh.ReadOnly})
	}
	l, err := s.serve(name, dirs)
	if err != nil {
		closeDirectories(dirs)
		return nil, fmt.Errorf("sharing directories with machine %q: %w", name, err)
	}
	return l, nil
}

// openShare opens a directory that can be shared.
func openShare(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return -1, fmt.Errorf("%w: %w", err, domain.ErrInvalid)
	case err != nil:
		return -1, err
	}
	window, err := isWindow(fd)
	if err == nil && window {
		err = fmt.Errorf("it belongs to the host's kernel: %w", domain.ErrInvalid)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func closeDirectories(dirs []directory) {
	for _, d := range dirs {
		_ = unix.Close(d.fd)
	}
}
