package share

import (
	"errors"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// statMask is what is asked of the host about each file.
const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// fileKey says which file of the host it is. Numbers of files are given out again
// after a removal; the time of birth, where the file system keeps it, differs then.
type fileKey struct {
	share    int
	dev, ino uint64
	born     int64
}

func keyOf(share int, st *unix.Statx_t) fileKey {
	k := fileKey{share: share, dev: deviceOf(st), ino: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		k.born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	return k
}

func deviceOf(st *unix.Statx_t) uint64 { return unix.Mkdev(st.Dev_major, st.Dev_minor) }

func kindOf(st *unix.Statx_t) uint32 { return uint32(st.Mode) & unix.S_IFMT }

// statAt looks at a name in a directory, or at the descriptor itself when the name
// is empty. It follows and triggers nothing.
func statAt(fd int, name string, st *unix.Statx_t) error {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_SYNC_AS_STAT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return retry(func() error { return unix.Statx(fd, name, flags, statMask, st) })
}

// retry repeats a system call that a signal of the runtime interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

const (
	// deviceShift leaves 48 bits for the numbers of most file systems.
	deviceShift = 48
	// foreign marks numbers that had to be made up.
	foreign = 1 << 63
)

// numbers gives files of several file systems numbers that differ, and are the same
// as long as the machine runs.
type numbers struct {
	mu      sync.RWMutex
	devices map[uint64]uint64
}

// of returns the guest's number of a file: the host's own on the first file system
// that is seen.
func (n *numbers) of(dev, ino uint64) uint64 {
	n.mu.RLock()
	i, ok := n.devices[dev]
	n.mu.RUnlock()
	if !ok {
		n.mu.Lock()
		if i, ok = n.devices[dev]; !ok {
			if n.devices == nil {
				n.devices = map[uint64]uint64{}
			}
			i = uint64(len(n.devices))
			n.devices[dev] = i
		}
		n.mu.Unlock()
	}
	if ino>>deviceShift == 0 && i < 1<<(63-deviceShift) {
		return i<<deviceShift | ino
	}
	// 63 bits of a mix that is one to one for each file system.
	h := (ino ^ bits.RotateLeft64((i+1)*0x9e3779b97f4a7c15, 32)) * 0xff51afd7ed558ccd
	return (h ^ h>>33) | foreign
}

// configFS is CONFIGFS_MAGIC (fs/configfs/mount.c).
const configFS = 0x62656570

// isWindow says whether fd is on a file system through which the kernel and its
// processes can be changed, by this process's rights (linux/magic.h).
func isWindow(fd int) (bool, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return false, err
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC,
		unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.BPF_FS_MAGIC, unix.SELINUX_MAGIC, unix.EFIVARFS_MAGIC,
		unix.BINFMTFS_MAGIC, unix.PSTOREFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.NSFS_MAGIC, configFS:
		return true, nil
	}
	return false, nil
}
