package docker

import "golang.org/x/sys/unix"

// peerClosed asks the kernel for EPOLLHUP, which a Unix socket reports once
// both directions are shut down, as opposed to EPOLLRDHUP.
func peerClosed(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	}
}
