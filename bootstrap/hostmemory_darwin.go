package bootstrap

import (
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// hostMemory returns the host's memory, 0 when it is unknown.
func hostMemory() domain.MiB {
	bytes, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return domain.MiB(bytes >> 20)
}
