//go:build linux

package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// wanted is one file system that the guest needs.
type wanted struct {
	target, fstype, data string
	flags                uintptr
}

const hard = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// table is what there has to be, in the order of mounting. What the init
// program has mounted already is left as it is.
func table() []wanted {
	return []wanted{
		{"/proc", "proc", "", hard},
		{"/sys", "sysfs", "", hard},
		{"/dev", "devtmpfs", "mode=0755", unix.MS_NOSUID},
		{"/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"/dev/shm", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		{"/dev/mqueue", "mqueue", "", hard},
		{"/sys/fs/cgroup", "cgroup2", "nsdelegate", hard},
		{"/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
		{"/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
		// Not in the root's bounded memory: programs of containers and of Kubernetes
		// live below /var and /opt.
		{"/var", "tmpfs", "mode=0755", 0},
		{"/opt", "tmpfs", "mode=0755", 0},
		{"/root", "tmpfs", "mode=0700", unix.MS_NOSUID | unix.MS_NODEV},
		{"/mnt", "tmpfs", "mode=0755", 0},
	}
}

// MountAll mounts what the guest needs and is not there yet. It goes on after a
// failure: what can be had is had.
func MountAll() error {
	text, _ := os.ReadFile(mountInfo) // nothing is mounted when it is not there
	have := ParseMountinfo(string(text))
	var problems []error
	for _, w := range table() {
		if mounted(have, w.target) {
			continue
		}
		_ = os.MkdirAll(w.target, 0o755) // the mount says it better
		if err := unix.Mount(w.fstype, w.target, w.fstype, w.flags, w.data); err != nil {
			problems = append(problems, fmt.Errorf("mount %s on %s: %w", w.fstype, w.target, err))
		}
	}
	for _, d := range []string{"/var/lib", "/var/log", "/var/cache", "/var/tmp", "/run/arcbox", "/run/lock"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			problems = append(problems, err)
		}
	}
	if err := os.Symlink("/run", "/var/run"); err != nil && !errors.Is(err, os.ErrExist) {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// writable reports whether a directory's file system takes writes.
func writable(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Flags&unix.ST_RDONLY == 0
}
