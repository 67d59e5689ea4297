//go:build linux

package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long processes have to end after a signal when the machine
// goes down; the services have been stopped before.
const settle = time.Second

// EndProcesses ends every other process of the machine. Process 1 only.
func EndProcesses() {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if !othersRun() {
			return
		}
		_ = unix.Kill(-1, sig) // an error means that they have just ended
		for end := time.Now().Add(settle); othersRun() && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // they are not its children: nothing tells when they end
		}
	}
}

// othersRun reports whether there is a process besides this one. Threads of
// the kernel and processes that have ended have no program, and do not count.
func othersRun() bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	self := strconv.Itoa(os.Getpid())
	for _, e := range entries {
		if name := e.Name(); name[0] >= '1' && name[0] <= '9' && name != self {
			if _, err := os.Readlink("/proc/" + name + "/exe"); err == nil {
				return true
			}
		}
	}
	return false
}

// Unmount unmounts everything at and below the directories, which share a disk
// whose file system is mounted at the last of them. What is busy is detached,
// and the disk is then made read-only, which leaves it as clean as an unmount.
func Unmount(dirs ...string) error {
	text, err := os.ReadFile(mountInfo)
	if err != nil {
		return fmt.Errorf("list of mounts: %w", err)
	}
	unix.Sync()
	var problems []error
	for _, m := range under(ParseMountinfo(string(text)), dirs...) {
		err := unix.Unmount(m.Target, 0)
		if errors.Is(err, unix.EBUSY) {
			if rerr := unix.Mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); rerr != nil {
				problems = append(problems, fmt.Errorf("make %s read-only: %w", m.Target, rerr))
			}
			err = unix.Unmount(m.Target, unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // gone with its container
			problems = append(problems, fmt.Errorf("unmount %s: %w", m.Target, err))
		}
	}
	unix.Sync()
	return errors.Join(problems...)
}

// PowerOff switches the machine off. It returns only when that fails.
func PowerOff() error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
