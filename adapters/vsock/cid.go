//go:build linux

package vsock

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

const (
	// Context ids 0 to 2 are the hypervisor, loopback and the host, and the
	// largest is "any" (vsock(7)).
	minCID = 3
	maxCID = 1<<32 - 2

	cidAttempts = 32

	// _IOW(0xAF, 0x60, __u64) of linux/vhost.h.
	ioctlSetGuestCID = 0x4008af60
)

// randomCID picks a guest context id. The ids are one space for the whole
// host, shared with other programs, so counting up would collide.
func randomCID(random func(n uint64) uint64) uint32 {
	return uint32(minCID + random(maxCID-minCID+1))
}

// freeCID finds a context id that no other guest has, by asking the kernel for
// it with node, an open vhost-vsock. The kernel takes the id back when node is
// closed.
func freeCID(node *os.File) (uint32, error) {
	return pickCID(func(cid uint32) error { return claimCID(node, cid) }, rand.Uint64N)
}

func pickCID(claim func(uint32) error, random func(uint64) uint64) (uint32, error) {
	for range cidAttempts {
		cid := randomCID(random)
		err := claim(cid)
		if err == nil {
			return cid, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, fmt.Errorf("claim vsock context id %d: %w", cid, err)
		}
	}
	return 0, fmt.Errorf("no free vsock context id in %d attempts: %w", cidAttempts, domain.ErrUnavailable)
}

func claimCID(node *os.File, cid uint32) error {
	id := uint64(cid)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, node.Fd(), ioctlSetGuestCID, uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return errno
	}
	return nil
}
