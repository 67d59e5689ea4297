package share

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Unlink implements fuse.RawFileSystem.
func (f *passThrough) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.remove(in, name, 0)
}

// Rmdir implements fuse.RawFileSystem.
func (f *passThrough) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.remove(in, name, unix.AT_REMOVEDIR)
}

func (f *passThrough) remove(in *fuse.InHeader, name string, flags int) fuse.Status {
	if touches(in) {
		return fuse.OK // the guest's kernel tells its watchers, the host has nothing to do
	}
	dir, errno := f.mayEnter(in, in.NodeId, name)
	if errno != 0 {
		return status(errno)
	}
	fd, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	if err := f.visible(fd, name); err != nil {
		return status(err)
	}
	last := f.hold(place{dir, name})
	err = retry(func() error { return unix.Unlinkat(fd, name, flags) })
	f.letGo(last, err == nil)
	return status(err)
}

// visible says that an entry is not the hidden directory.
func (f *passThrough) visible(dir int, name string) error {
	if f.hidden.ino == 0 {
		return nil
	}
	var st unix.Statx_t
	if err := statAt(dir, name, &st); err == nil && f.hidden.is(&st) {
		return unix.ENOENT
	}
	return nil // what there is to say about it is for the call that follows
}

// movable says that an entry is neither the hidden directory nor on the way to it.
func (f *passThrough) movable(dir int, name string) error {
	if err := f.visible(dir, name); err != nil || f.hidden.ino == 0 {
		return err
	}
	var st unix.Statx_t
	if err := statAt(dir, name, &st); err == nil && f.hidden.leadsTo(&st) {
		return unix.EBUSY
	}
	return nil
}

// hold opens the file at a place which may be its last, so that a guest that uses it
// can go on.
func (f *passThrough) hold(at place) *node {
	n := f.tree.at(at)
	if n == nil {
		return nil
	}
	if _, err := f.tree.pin(n); err != nil {
		return nil // it is not there any more
	}
	return n
}

// letGo ends hold, if the place is gone only when the guest forgets the file.
func (f *passThrough) letGo(n *node, gone bool) {
	if n == nil {
		return
	}
	if gone {
		f.tree.keepOpen(n)
	}
	f.tree.unpin(n)
}

// Rename implements fuse.RawFileSystem.
func (f *passThrough) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	from, errno := f.mayEnter(&in.InHeader, in.NodeId, oldName)
	var to *node
	if errno == 0 {
		to, errno = f.mayEnter(&in.InHeader, in.Newdir, newName)
	}
	switch {
	case errno != 0:
		return status(errno)
	case in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0:
		return fuse.EINVAL
	case from.share != to.share:
		return fuse.EXDEV // what is moved would keep the rights of its share
	}
	oldDir, err := f.tree.pin(from)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(from)
	newDir, err := f.tree.pin(to)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(to)
	for _, e := range []struct {
		dir  int
		name string
	}{{oldDir, oldName}, {newDir, newName}} {
		if err := f.movable(e.dir, e.name); err != nil {
			return status(err)
		}
	}
	return status(f.rename(place{from, oldName}, place{to, newName}, oldDir, newDir, in.Flags))
}

// rename is Rename between two pinned directories.
func (f *passThrough) rename(from, to place, oldDir, newDir int, flags uint32) error {
	exchange := flags&unix.RENAME_EXCHANGE != 0
	var replaced *node
	if !exchange {
		replaced = f.hold(to)
	}
	err := retry(func() error { return unix.Renameat2(oldDir, from.name, newDir, to.name, uint(flags)) })
	// Two names of one file stay as they are.
	f.letGo(replaced, err == nil && replaced != f.tree.at(from))
	switch {
	case err != nil:
		return err
	case exchange:
		f.tree.swapped(from, to)
	default:
		f.tree.moved(from, to)
	}
	return nil
}
