package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// inUse says whether somebody holds a lock on the image, as QEMU does on every
// image that it has open. When it cannot be told, the image counts as used.
func inUse(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return true
	}
	return l.Type != unix.F_UNLCK
}
