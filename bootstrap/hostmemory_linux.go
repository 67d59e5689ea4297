package bootstrap

import (
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// hostMemory returns the host's memory, 0 when it is unknown.
func hostMemory() domain.MiB {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return domain.MiB(info.Totalram * uint64(info.Unit) >> 20)
}
