package netfwd

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketPair returns our end of a pair of datagram sockets and the hypervisor's, which stays in blocking
// mode. buffer is asked for on both, bytes.
func socketPair(buffer int) (*net.UnixConn, *os.File, error) {
	// macOS cannot make them close-on-exec in one step; the lock keeps a child
	// that is started in between from inheriting them.
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", os.NewSyscallError("socketpair", err))
	}
	for _, opt := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		_ = unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, opt, buffer) // less is slower, not wrong
	}
	theirs := os.NewFile(uintptr(fds[1]), "network")
	ours := os.NewFile(uintptr(fds[0]), "network")
	defer ours.Close() // FileConn duplicates it
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}
