//go:build linux

package configure

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Kernel is the Mounts of a guest.
type Kernel struct{}

// what a share of the host is never good for.
const shareFlags = unix.MS_NOSUID | unix.MS_NODEV

// Tag implements Mounts.
func (Kernel) Tag(tag, target string) error {
	switch err := unix.Mount(tag, target, "virtiofs", shareFlags, ""); {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the machine has no device for it: %w", err)
	case err != nil:
		return err
	}
	return errors.Join(readAhead(target), private(target))
}

// readAheadKiB is several requests of the largest size: the default of 128 KiB has
// each one wait for the one before.
const readAheadKiB = 4096

func readAhead(target string) error {
	var st unix.Stat_t
	if err := unix.Stat(target, &st); err != nil {
		return fmt.Errorf("look at the mount: %w", err)
	}
	knob := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if err := os.WriteFile(knob, []byte(strconv.Itoa(readAheadKiB)), 0); err != nil {
		return fmt.Errorf("set what is read ahead: %w", err)
	}
	return nil
}

// private keeps mounts from appearing below both places of a share: a bind of a
// shared mount would have the same peers.
func private(target string) error {
	if err := unix.Mount("", target, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mount private: %w", err)
	}
	return nil
}

// Bind implements Mounts. What is mounted below target later appears in
// containers that ask for it.
func (Kernel) Bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	err := unix.Mount("", target, "", unix.MS_SHARED, "")
	if err == nil && readOnly {
		err = unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|shareFlags, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set the options of the mount: %w", err), unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// Unmount implements Mounts.
func (Kernel) Unmount(target string) error {
	return unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}
