package share

import (
	"errors"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// SetAttr implements fuse.RawFileSystem.
func (f *passThrough) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if touches(&in.InHeader) {
		return f.GetAttr(cancel, &fuse.GetAttrIn{InHeader: in.InHeader}, out)
	}
	n, errno := f.mayChange(&in.InHeader, in.NodeId)
	if errno != 0 {
		return status(errno)
	}
	fd, release, err := f.pinOrHandle(n, in)
	if err != nil {
		return status(err)
	}
	defer release()
	if err := f.change(n, fd, in); err != nil {
		return status(err)
	}
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		return status(err)
	}
	out.SetTimeout(f.cache.Attributes)
	f.attributes(n, &st, &out.Attr)
	return fuse.OK
}

// pinOrHandle returns a descriptor of the file: of a file that was removed there is
// only the one that the guest has open.
func (f *passThrough) pinOrHandle(n *node, in *fuse.SetAttrIn) (int, func(), error) {
	if id, ok := in.GetFh(); ok {
		h := f.handles.get(id)
		if h != nil && h.node == n {
			return h.fd, h.release, nil
		}
		h.release()
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return -1, nil, err
	}
	return fd, func() { f.tree.unpin(n) }, nil
}

// change carries out what a request asks for.
func (f *passThrough) change(n *node, fd int, in *fuse.SetAttrIn) error {
	if size, ok := in.GetSize(); ok {
		if err := f.resize(n, fd, size, in.Valid&fuse.FATTR_KILL_SUIDGID != 0); err != nil {
			return err
		}
	}
	if mode, ok := in.GetMode(); ok {
		if n.kind == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		if err := unix.Chmod(procPath(fd), guestMode(n.kind|mode)&0o7777); err != nil {
			return err
		}
	}
	if times, ok := timesOf(in); ok {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd), times[:], 0); err != nil {
			return err
		}
	}
	uid, setUID := in.GetUID()
	gid, setGID := in.GetGID()
	if !setUID && !setGID {
		return nil
	}
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		return err
	}
	var u, g *uint32
	if setUID {
		u = &uid
	}
	if setGID {
		g = &gid
	}
	f.setOwner(n, fd, &st, u, g)
	return nil
}

func (f *passThrough) resize(n *node, fd int, size uint64, unprivilege bool) error {
	switch {
	case n.isDir():
		return unix.EISDIR
	case !n.isRegular() || size > math.MaxInt64:
		return unix.EINVAL
	}
	// By the handle that the guest has opened to write, as ftruncate does: the file's
	// mode may not let anybody open it so again.
	err := retry(func() error { return unix.Ftruncate(fd, int64(size)) })
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.EINVAL) { // O_PATH, or opened to read
		err = retry(func() error { return unix.Truncate(procPath(fd), int64(size)) })
	}
	if err != nil {
		return err
	}
	if !unprivilege {
		return nil
	}
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil || st.Mode&(unix.S_ISUID|unix.S_ISGID) == 0 {
		return err
	}
	return unix.Chmod(procPath(fd), uint32(st.Mode)&0o1777)
}

// timesOf are the times that a request sets.
func timesOf(in *fuse.SetAttrIn) (t [2]unix.Timespec, ok bool) {
	one := func(set, now uint32, sec uint64, nsec uint32) unix.Timespec {
		switch {
		case in.Valid&now != 0:
			ok = true
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case in.Valid&set != 0:
			ok = true
			return unix.Timespec{Sec: int64(sec), Nsec: int64(min(nsec, 999_999_999))}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	t[0] = one(fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec)
	t[1] = one(fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec)
	return t, ok
}
