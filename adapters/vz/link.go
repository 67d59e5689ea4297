package vz

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// duplicateLink returns the machine's own descriptor for its end of the
// network, with the buffers that a configuration wants.
//
// Errors: domain.ErrInvalid for anything but a datagram socket.
func duplicateLink(f *os.File, n Network) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("network link: %w: %w", domain.ErrInvalid, err)
	}
	fd := -1
	var failure error
	if err := raw.Control(func(own uintptr) { fd, failure = prepareSocket(int(own), n) }); err != nil {
		return nil, fmt.Errorf("network link: %w: %w", domain.ErrInvalid, err)
	}
	if failure != nil {
		return nil, fmt.Errorf("network link: %w", failure)
	}
	return os.NewFile(uintptr(fd), "network"), nil
}

func prepareSocket(fd int, n Network) (int, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return -1, fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	if kind != unix.SOCK_DGRAM {
		return -1, fmt.Errorf("a socket of type %d, want datagrams: %w", kind, domain.ErrInvalid)
	}
	for _, o := range []struct{ option, size int }{{unix.SO_SNDBUF, n.SendBuffer}, {unix.SO_RCVBUF, n.ReceiveBuffer}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.option, o.size); err != nil {
			return -1, fmt.Errorf("buffer of %d bytes: %w: %w", o.size, domain.ErrUnavailable, err)
		}
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicating it: %w: %w", domain.ErrUnavailable, err)
	}
	return dup, nil
}
