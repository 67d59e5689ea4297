package kvm

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair returns a connection and the other end of it, which is for a child
// process.
func socketPair(name string) (local net.Conn, remote *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making the socket pair of the %s: %w", name, err)
	}
	remote = os.NewFile(uintptr(fds[1]), name)
	file := os.NewFile(uintptr(fds[0]), name)
	defer file.Close()
	local, err = net.FileConn(file) // a duplicate
	if err != nil {
		remote.Close()
		return nil, nil, fmt.Errorf("making the socket pair of the %s: %w", name, err)
	}
	return local, remote, nil
}

// duplicate returns a descriptor of our own for f's open file. Unlike f.Fd(), it
// leaves f's mode alone.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("duplicating %s: %w", f.Name(), err)
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(p uintptr) {
		fd, dupErr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 3)
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, fmt.Errorf("duplicating %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// inheritance is the descriptors that a child process gets beside its standard
// ones. They are ours until close.
type inheritance []*os.File

// add takes f over and returns its number in the child.
func (h *inheritance) add(f *os.File) int {
	*h = append(*h, f)
	return 2 + len(*h)
}

// addDuplicate is add for a file that stays its owner's.
func (h *inheritance) addDuplicate(f *os.File) (int, error) {
	d, err := duplicate(f)
	if err != nil {
		return 0, err
	}
	return h.add(d), nil
}

// close closes our copies; the child's stay open.
func (h *inheritance) close() {
	for _, f := range *h {
		f.Close()
	}
	*h = nil
}
