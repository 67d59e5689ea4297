package vz

import (
	"errors"
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
	set := func(option, size int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size) }
	if err := setBuffers(n, set); err != nil {
		return -1, err
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicating it: %w: %w", domain.ErrUnavailable, err)
	}
	return dup, nil
}

// minSendBuffer is the smallest buffer that carries a frame of any MTU, bytes.
const minSendBuffer = 128 << 10

// setBuffers sets both buffers with set, or the largest that the host grants, in the
// same proportion: macOS refuses what is above kern.ipc.maxsockbuf instead of granting
// less.
func setBuffers(n Network, set func(option, size int) error) error {
	send, receive := n.SendBuffer, n.ReceiveBuffer
	for {
		err := set(unix.SO_SNDBUF, send)
		if err == nil {
			err = set(unix.SO_RCVBUF, receive)
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.ENOBUFS) || send/2 < minSendBuffer:
			return fmt.Errorf("buffers of %d and %d bytes: %w: %w", send, receive, domain.ErrUnavailable, err)
		}
		send, receive = send/2, receive/2
	}
}
