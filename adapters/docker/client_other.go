//go:build !linux

package docker

import "golang.org/x/sys/unix"

// peerClosed reports whether the socket has lost its peer. POLLHUP does not
// tell a half-close from a full one here; the name of the peer does: it is
// there as long as the peer's descriptor is.
func peerClosed(fd uintptr) bool {
	_, err := unix.Getpeername(int(fd))
	return err != nil
}
