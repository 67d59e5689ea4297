package share

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mknod implements fuse.RawFileSystem, for everything but devices.
func (f *passThrough) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	kind := in.Mode & unix.S_IFMT
	switch kind {
	case 0:
		kind = unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return fuse.EPERM
	}
	return f.create(&in.InHeader, name, in.Mode&0o7777|kind, out, func(dir int) error {
		return unix.Mknodat(dir, name, kind|0o600, 0)
	})
}

// Mkdir implements fuse.RawFileSystem.
func (f *passThrough) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.create(&in.InHeader, name, in.Mode&0o7777|unix.S_IFDIR, out, func(dir int) error {
		return unix.Mkdirat(dir, name, 0o700)
	})
}

// Symlink implements fuse.RawFileSystem. What the link says is for the guest.
func (f *passThrough) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.create(in, name, unix.S_IFLNK, out, func(dir int) error {
		return unix.Symlinkat(target, dir, name)
	})
}

// create makes an entry that did not exist and gives it mode, whatever the mask of
// this process, and its owner.
func (f *passThrough) create(in *fuse.InHeader, name string, mode uint32, out *fuse.EntryOut, do func(dir int) error) fuse.Status {
	dir, errno := f.mayEnter(in, in.NodeId, name)
	if errno != 0 {
		return status(errno)
	}
	fd, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	if err := retry(func() error { return do(fd) }); err != nil {
		return status(err)
	}
	var st unix.Statx_t
	n, err := f.child(dir, fd, name, &st)
	if err != nil {
		return status(err)
	}
	if n.kind == mode&unix.S_IFMT {
		if err := f.finish(n, in, mode, &st); err != nil {
			f.tree.forget(n.id, 1)
			return status(err)
		}
	}
	f.entry(n, &st, out)
	return fuse.OK
}

// finish gives a new file its mode and owner.
func (f *passThrough) finish(n *node, in *fuse.InHeader, mode uint32, st *unix.Statx_t) error {
	want := guestMode(mode) & 0o7777
	// A directory made in one with the bit has it too (BSD groups).
	want |= uint32(st.Mode) & unix.S_ISGID
	settle := n.kind != unix.S_IFLNK && uint32(st.Mode)&0o7777 != want
	if !settle && in.Uid == 0 && in.Gid == 0 {
		return nil
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return err
	}
	defer f.tree.unpin(n)
	if settle {
		if err := unix.Chmod(procPath(fd), want); err != nil {
			return err
		}
	}
	if in.Uid != 0 || in.Gid != 0 {
		f.setOwner(n, fd, st, &in.Uid, &in.Gid)
	}
	return statAt(fd, "", st)
}

// Create implements fuse.RawFileSystem.
func (f *passThrough) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	dir, errno := f.mayEnter(&in.InHeader, in.NodeId, name)
	if errno != 0 {
		return status(errno)
	}
	at, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	// What is there already is opened by its descriptor only, once it is known what
	// it is. It may come and go in between.
	for range 8 {
		err = f.createNew(dir, at, in, name, out)
		if !errors.Is(err, unix.EEXIST) || in.Flags&unix.O_EXCL != 0 {
			return status(err)
		}
		if err = f.createOver(dir, at, in, name, out); !errors.Is(err, unix.ENOENT) {
			return status(err)
		}
	}
	return status(err)
}

func (f *passThrough) createNew(dir *node, at int, in *fuse.CreateIn, name string, out *fuse.CreateOut) error {
	flags := int(in.Flags&passedFlags&^unix.O_TRUNC) | ownFlags | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW
	fd := -1
	for again := true; ; again = false {
		var err error
		err = retry(func() error {
			fd, err = unix.Openat(at, name, flags, 0o600)
			return err
		})
		if (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)) && again && f.tree.makeRoom() {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		_ = unix.Close(fd)
		return err
	}
	n := f.tree.seen(dir.share, &st, place{dir, name})
	err := f.prepare(n, fd, &in.InHeader, in.Mode, &st)
	if err != nil {
		_ = unix.Close(fd)
	} else {
		err = f.opened(n, fd, in.Flags, &out.OpenOut)
	}
	if err != nil {
		f.tree.forget(n.id, 1)
		return err
	}
	f.entry(n, &st, &out.EntryOut)
	return nil
}

// prepare is finish for a file that was opened when it was made.
func (f *passThrough) prepare(n *node, fd int, in *fuse.InHeader, mode uint32, st *unix.Statx_t) error {
	want := guestMode(mode|unix.S_IFREG) & 0o7777
	changed := false
	if uint32(st.Mode)&0o7777 != want {
		if err := unix.Fchmod(fd, want); err != nil {
			return err
		}
		changed = true
	}
	if in.Uid != 0 || in.Gid != 0 {
		f.setOwner(n, fd, st, &in.Uid, &in.Gid)
		changed = true
	}
	if !changed {
		return nil
	}
	return statAt(fd, "", st)
}

// createOver opens what is there.
func (f *passThrough) createOver(dir *node, at int, in *fuse.CreateIn, name string, out *fuse.CreateOut) error {
	var st unix.Statx_t
	n, err := f.child(dir, at, name, &st)
	if err != nil {
		return err
	}
	fd := -1
	switch n.kind {
	case unix.S_IFREG:
		fd, err = f.openNode(n, in.Flags&passedFlags)
	case unix.S_IFDIR:
		err = unix.EISDIR
	case unix.S_IFLNK:
		err = unix.ESTALE // the guest looks again, and follows it
	default:
		err = unix.EACCES
	}
	if err == nil {
		err = f.opened(n, fd, in.Flags, &out.OpenOut)
	}
	if err == nil {
		err = f.tree.stat(n, &st)
	}
	if err != nil {
		f.tree.forget(n.id, 1)
		return err
	}
	f.entry(n, &st, &out.EntryOut)
	return nil
}

// Tmpfile implements fuse.RawFileSystem.
func (f *passThrough) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	dir, errno := f.mayChange(&in.InHeader, in.NodeId)
	if errno == 0 && !dir.isDir() {
		errno = unix.ENOTDIR
	}
	if errno != 0 {
		return status(errno)
	}
	at, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	flags := in.Flags&passedFlags&^unix.O_TRUNC | in.Flags&unix.O_EXCL
	fd, err := unix.Open(procPath(at), int(flags)|ownFlags|unix.O_TMPFILE, 0o600)
	if err != nil {
		return status(err)
	}
	// Another descriptor is the file's for as long as the guest knows it.
	path, err := unix.Open(procPath(fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	var st unix.Statx_t
	if err == nil {
		if err = statAt(path, "", &st); err != nil {
			_ = unix.Close(path)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return status(err)
	}
	n, err := f.tree.nameless(dir.share, &st, path)
	if err != nil {
		_ = unix.Close(path)
		_ = unix.Close(fd)
		return status(err)
	}
	if err = f.prepare(n, fd, &in.InHeader, in.Mode, &st); err != nil {
		_ = unix.Close(fd)
	} else {
		err = f.opened(n, fd, in.Flags, &out.OpenOut)
	}
	if err != nil {
		f.tree.forget(n.id, 1)
		return status(err)
	}
	f.entry(n, &st, &out.EntryOut)
	return fuse.OK
}

// Link implements fuse.RawFileSystem.
func (f *passThrough) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, errno := f.mayEnter(&in.InHeader, in.NodeId, name)
	var n *node
	if errno == 0 {
		n, errno = f.mayChange(&in.InHeader, in.Oldnodeid)
	}
	if errno != 0 {
		return status(errno)
	}
	if n.share != dir.share {
		return fuse.EXDEV // it would have the rights of the other share
	}
	from, err := f.tree.pin(n)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(n)
	to, err := f.tree.pin(dir)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(dir)
	// Following is what the path of the descriptor needs; a link behind it is not.
	if err := unix.Linkat(unix.AT_FDCWD, procPath(from), to, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return status(err)
	}
	var st unix.Statx_t
	linked, err := f.child(dir, to, name, &st)
	if err != nil {
		return status(err)
	}
	f.entry(linked, &st, out)
	return fuse.OK
}
