//go:build linux

package configure

import (
	"errors"
	"fmt"

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
	return private(target)
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
