//go:build linux

package touch

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// inside keeps a walk within a share: containers can write there, and must not
// be able to turn it elsewhere by a link or a mount.
const inside = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS

// place is the directory of the last change, which is often that of the next.
type place struct {
	dir  string
	fd   int
	open bool
}

func (p *place) close() {
	if p.open {
		_ = unix.Close(p.fd)
		p.open = false
	}
}

// enter opens the directory dir of the tree, relative to it.
func (p *place) enter(t Tree, dir string) error {
	if full := t.Dir + "/" + dir; !p.open || p.dir != full {
		p.close()
		root, err := unix.Open(t.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(root) }()
		fd, err := unix.Openat2(root, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inside})
		if err != nil {
			return err
		}
		p.dir, p.fd, p.open = full, fd, true
	}
	return nil
}

// touch makes one change be seen. That the path is gone, or is another thing
// than it was, means that there is another change to come.
func (p *place) touch(t Tree, c domain.PathChange) error {
	relative := strings.TrimPrefix(strings.TrimPrefix(c.Path, t.Path), "/")
	dir, name := path.Split(relative)
	if name == "" {
		name = "." // the share itself
	}
	err := p.enter(t, path.Clean(dir))
	if err == nil {
		err = p.change(name, c.Removed && name != ".")
	}
	if err == nil || passed(err) {
		return nil
	}
	return fmt.Errorf("touch %s: %w", c.Path, err)
}

func passed(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV, unix.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (p *place) change(name string, removed bool) error {
	// The host is asked: what the kernel remembers is what changed.
	var st unix.Statx_t
	err := unix.Statx(p.fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st)
	if removed {
		return p.remove(name, st, err)
	}
	if err != nil {
		return err
	}
	return p.setTime(name, st)
}

// setTime sets the time of modification to what it is, and no other: that is
// what the kernel shows to watchers as a modification (fsnotify_change).
func (p *place) setTime(name string, st unix.Statx_t) error {
	mtime := unix.Timespec{Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)}
	return unix.UtimesNanoAt(p.fd, name, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// remove removes what the kernel remembers of a name. A directory that lives on
// elsewhere is not removed: the kernel would take it for dead there too, and
// nobody could make a file in it any more.
func (p *place) remove(name string, st unix.Statx_t, asked error) error {
	err := unix.Unlinkat(p.fd, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	if asked == nil && st.Nlink > 0 {
		return p.setTime(name, st)
	}
	return unix.Unlinkat(p.fd, name, unix.AT_REMOVEDIR)
}
