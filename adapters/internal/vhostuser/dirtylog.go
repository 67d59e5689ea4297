//go:build linux

package vhostuser

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	logPageShift = 12
	// One bit for each page: 1 GiB of log covers 32 TiB of guest memory.
	maxLogSize = 1 << 30
)

// dirtyLog is the bitmap in which a migrating front-end learns which guest
// pages this device has written: one bit for each page of 4 KiB, in words of
// the host's order as the specification wants. It does not change once it is
// published, except for its bits.
type dirtyLog struct {
	bits []byte
	mmap []byte
}

func mapLog(fd int, size, off uint64) (*dirtyLog, error) {
	if size < 4 || size > maxLogSize || off > maxLogSize || off%4 != 0 {
		return nil, fmt.Errorf("migration log of %#x bytes at offset %#x is out of bounds", size, off)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < int64(off+size) {
		return nil, errors.New("migration log is not inside its file")
	}
	m, err := unix.Mmap(fd, 0, int(off+size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the migration log: %w", err)
	}
	return &dirtyLog{bits: m[off : off+size], mmap: m}, nil
}

func (l *dirtyLog) unmap() {
	if l != nil {
		_ = unix.Munmap(l.mmap)
	}
}

// mark notes that n bytes at gpa were written. It is called after the write,
// so that a front-end which clears the bit and then copies the page cannot
// miss it. Pages outside the log are not the front-end's interest.
func (l *dirtyLog) mark(gpa uint64, n int) {
	if l == nil || n <= 0 {
		return
	}
	for page := gpa >> logPageShift; page <= (gpa+uint64(n)-1)>>logPageShift; page++ {
		word := page / 32 * 4
		if word+4 > uint64(len(l.bits)) {
			return
		}
		atomic.OrUint32((*uint32)(unsafe.Pointer(&l.bits[word])), 1<<(page%32))
	}
}
