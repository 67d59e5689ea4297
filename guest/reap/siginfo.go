//go:build linux

package reap

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPID returns si_pid, which x/sys keeps in its opaque part: the first
// field after the three ints and, on 64-bit systems, their padding.
func siginfoPID(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16)))
}
