package share

import (
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// OpenDir implements fuse.RawFileSystem.
func (f *passThrough) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.NodeId == rootID {
		return fuse.OK
	}
	n, errno := f.tree.get(in.NodeId)
	if errno == 0 && !n.isDir() {
		errno = unix.ENOTDIR
	}
	if errno != 0 {
		return status(errno)
	}
	path, err := f.tree.pin(n)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(n)
	fd, err := f.reopen(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return status(err)
	}
	out.Fh, _, err = f.handles.add(n, fd)
	return status(err)
}

// ReleaseDir implements fuse.RawFileSystem.
func (f *passThrough) ReleaseDir(in *fuse.ReleaseIn) { f.handles.drop(in.Fh) }

// ReadDir implements fuse.RawFileSystem.
func (f *passThrough) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, func(_ *node, _ int, e *entry) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.kind, Off: e.next})
	})
}

// ReadDirPlus implements fuse.RawFileSystem.
func (f *passThrough) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, func(dir *node, fd int, e *entry) bool {
		d := fuse.DirEntry{Name: e.name, Ino: e.ino, Mode: e.kind, Off: e.next}
		slot := out.AddDirLookupEntry(d) // in the guest's memory: it is only written
		if slot == nil {
			return false
		}
		if e.name == "." || e.name == ".." {
			return true
		}
		// An entry that cannot be looked up is still listed, without a node.
		var found fuse.EntryOut
		if dir == nil {
			if f.lookupShare(e.name, &found).Ok() {
				*slot = found
			}
			return true
		}
		var st unix.Statx_t
		if n, err := f.child(dir, fd, e.name, &st); err == nil {
			f.entry(n, &st, &found)
			*slot = found
			out.FixMode(n.kind)
		}
		return true
	})
}

// list gives add the entries from an offset on until it has no room.
func (f *passThrough) list(in *fuse.ReadIn, add func(dir *node, fd int, e *entry) bool) fuse.Status {
	if in.NodeId == rootID {
		f.listShares(in.Offset, add)
		return fuse.OK
	}
	h := f.handles.get(in.Fh)
	if h == nil || !h.node.isDir() {
		h.release()
		return fuse.EBADF
	}
	defer h.release()
	h.mu.Lock()
	defer h.mu.Unlock()
	f.handles.lists.begin(h)
	defer f.handles.lists.end(h)
	if err := h.listing.seek(h.fd, in.Offset); err != nil {
		return status(err)
	}
	dir := h.node
	for added := false; ; {
		e, err := h.listing.peek(h.fd)
		switch {
		case err != nil && !added:
			return status(err)
		case err != nil || e == nil:
			return fuse.OK
		case !f.hidden.lists(dir.key.dev, dir.key.ino, e.name, e.ino):
			e.ino = f.numbers.of(dir.key.dev, e.ino)
			if !add(dir, h.fd, e) {
				return fuse.OK
			}
			added = true
		}
		h.listing.take(e)
	}
}

// listShares lists the device's root, where an offset counts entries.
func (f *passThrough) listShares(offset uint64, add func(*node, int, *entry) bool) {
	for i := offset; i < uint64(2+len(f.shares)); i++ {
		e := &entry{name: ".", ino: rootID, kind: unix.S_IFDIR, next: i + 1}
		switch {
		case i == 1:
			e.name = ".."
		case i > 1:
			root := f.shares[i-2].root
			e.name = strconv.FormatUint(i-2, 10)
			e.ino = f.numbers.of(root.key.dev, root.key.ino)
		}
		if !add(nil, -1, e) {
			return
		}
	}
}
