package share

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// guestMode is the mode of a host's file that the guest sees, and the one that the
// host stores for the guest: set-user-id and set-group-id bits of regular files
// are kept out in both directions.
func guestMode(mode uint32) uint32 {
	if mode&unix.S_IFMT == unix.S_IFREG {
		return mode &^ (unix.S_ISUID | unix.S_ISGID)
	}
	return mode &^ unix.S_ISUID
}

// attributes describes a file to the guest.
func (f *passThrough) attributes(n *node, st *unix.Statx_t, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: f.numbers.of(deviceOf(st), st.Ino), Size: st.Size, Blocks: st.Blocks,
		Atime: uint64(st.Atime.Sec), Mtime: uint64(st.Mtime.Sec), Ctime: uint64(st.Ctime.Sec),
		Atimensec: st.Atime.Nsec, Mtimensec: st.Mtime.Nsec, Ctimensec: st.Ctime.Nsec,
		Mode: guestMode(uint32(st.Mode)), Nlink: st.Nlink, Owner: f.owner(n, st),
		Rdev: uint32(unix.Mkdev(st.Rdev_major, st.Rdev_minor)), Blksize: st.Blksize,
	}
}

// deviceRoot describes the directory of the shares.
func (f *passThrough) deviceRoot(out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: rootID, Mode: unix.S_IFDIR | 0o555, Nlink: uint32(2 + len(f.shares)), Blksize: 4096,
		Mtime: uint64(f.began.Unix()), Ctime: uint64(f.began.Unix()), Atime: uint64(f.began.Unix()),
	}
}

// GetAttr implements fuse.RawFileSystem.
func (f *passThrough) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(f.cache.Attributes)
	if in.NodeId == rootID {
		f.deviceRoot(&out.Attr)
		return fuse.OK
	}
	n, errno := f.tree.get(in.NodeId)
	if errno != 0 {
		return status(errno)
	}
	var st unix.Statx_t
	// A file that was removed is still there by its handle.
	var err error
	if h := f.handles.get(in.Fh()); in.Flags()&fuse.FUSE_GETATTR_FH != 0 && h != nil {
		err = statAt(h.fd, "", &st)
		h.release()
	} else {
		h.release()
		err = f.tree.stat(n, &st)
	}
	if err != nil {
		return status(err)
	}
	f.attributes(n, &st, &out.Attr)
	return fuse.OK
}

// entry describes a file that was looked up.
func (f *passThrough) entry(n *node, st *unix.Statx_t, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	if n.isDir() {
		// The file itself is asked for each time it is named, so its size is right
		// when it is opened and a file that replaced it is seen.
		out.SetEntryTimeout(f.cache.Directories)
	}
	out.SetAttrTimeout(f.cache.Attributes)
	f.attributes(n, st, &out.Attr)
}
