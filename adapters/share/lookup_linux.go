package share

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Lookup implements fuse.RawFileSystem.
func (f *passThrough) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if in.NodeId == rootID {
		return f.lookupShare(name, out)
	}
	dir, errno := f.tree.get(in.NodeId)
	switch {
	case errno != 0:
		return status(errno)
	case !dir.isDir():
		return fuse.ENOTDIR
	case len(name) > maxName:
		return fuse.Status(unix.ENAMETOOLONG)
	case !plainName(name):
		return fuse.EINVAL
	}
	fd, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	var st unix.Statx_t
	n, err := f.child(dir, fd, name, &st)
	switch {
	case err == nil:
		f.entry(n, &st, out)
		return fuse.OK
	case !errors.Is(err, unix.ENOENT):
		return status(err)
	case touches(in):
		return f.departed(place{dir, name}, out)
	}
	if f.cache.Missing > 0 {
		// An entry without a node says for how long there is none.
		out.SetEntryTimeout(f.cache.Missing)
		return fuse.OK
	}
	return fuse.ENOENT
}

func (f *passThrough) lookupShare(name string, out *fuse.EntryOut) fuse.Status {
	i, ok := shareIndex(name, len(f.shares))
	if !ok {
		return fuse.ENOENT
	}
	n := f.shares[i].root
	var st unix.Statx_t
	if err := f.tree.stat(n, &st); err != nil {
		return status(err)
	}
	f.entry(n, &st, out)
	return fuse.OK
}

// child finds a name below a pinned directory and counts that as a lookup.
func (f *passThrough) child(dir *node, fd int, name string, st *unix.Statx_t) (*node, error) {
	if err := statAt(fd, name, st); err != nil {
		return nil, err
	}
	if f.hidden.is(st) {
		return nil, unix.ENOENT
	}
	if deviceOf(st) != dir.key.dev {
		if err := f.enter(fd, name); err != nil {
			return nil, err
		}
	}
	return f.tree.seen(f.shareOf(dir.share, st), st, place{dir, name}), nil
}

// shareOf is the share that a file below s belongs to: directories of other shares
// keep their own rights.
func (f *passThrough) shareOf(s *shared, st *unix.Statx_t) *shared {
	if kindOf(st) != unix.S_IFDIR {
		return s
	}
	for _, o := range f.shares {
		if o.root.key.ino == st.Ino && o.root.key.dev == deviceOf(st) {
			return o
		}
	}
	return s
}

// enter refuses file systems that are no place for files.
func (f *passThrough) enter(dir int, name string) error {
	fd, err := f.tree.openPath(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	window, err := isWindow(fd)
	if err == nil && window {
		err = unix.EACCES
	}
	return err
}

// departed shows a file that is gone from the host, so that the guest's kernel can
// remove what it still has of it and tell those who watch.
func (f *passThrough) departed(at place, out *fuse.EntryOut) fuse.Status {
	n := f.tree.revive(at)
	if n == nil {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = n.id, 1
	out.Attr = fuse.Attr{Ino: n.id, Mode: n.kind, Nlink: 1}
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (f *passThrough) Forget(id, count uint64) { f.tree.forget(id, count) }

// Access implements fuse.RawFileSystem.
func (f *passThrough) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	if in.NodeId == rootID {
		if in.Mask&unix.W_OK != 0 {
			return fuse.EROFS
		}
		return fuse.OK
	}
	n, errno := f.tree.get(in.NodeId)
	switch {
	case errno != 0:
		return status(errno)
	case n.share.readOnly && in.Mask&unix.W_OK != 0:
		return fuse.EROFS
	case in.Mask == unix.F_OK || n.kind == unix.S_IFLNK:
		return fuse.OK
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(n)
	return status(unix.Faccessat2(unix.AT_FDCWD, procPath(fd), in.Mask&(unix.R_OK|unix.W_OK|unix.X_OK), unix.AT_EACCESS))
}

// Readlink implements fuse.RawFileSystem.
func (f *passThrough) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	n, errno := f.tree.get(in.NodeId)
	if errno != 0 {
		return nil, status(errno)
	}
	if n.kind != unix.S_IFLNK {
		return nil, fuse.EINVAL
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return nil, status(err)
	}
	defer f.tree.unpin(n)
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return nil, status(err)
	}
	return buf[:size], fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (f *passThrough) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if in.NodeId == rootID {
		out.Bsize, out.Frsize, out.NameLen = 4096, 4096, maxName
		return fuse.OK
	}
	n, errno := f.tree.get(in.NodeId)
	if errno != 0 {
		return status(errno)
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(n)
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return status(err)
	}
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Bfree, st.Bavail
	out.Files, out.Ffree = st.Files, st.Ffree
	out.Bsize, out.Frsize, out.NameLen = uint32(st.Bsize), uint32(st.Frsize), uint32(st.Namelen)
	return fuse.OK
}
