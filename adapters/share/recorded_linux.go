package share

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// recorded notes what a mount of the guest changes.
type recorded struct{ *passThrough }

// changing carries out what changes a file. What fails changed nothing, and leaves
// the file's time of change to whom it was.
func (f recorded) changing(h *fuse.InHeader, id uint64, do func() fuse.Status) fuse.Status {
	n, errno := f.tree.get(id)
	if errno != 0 || touches(h) {
		return do()
	}
	what := written{dev: n.key.dev, ino: n.key.ino}
	f.writes.begin(what)
	st := fuse.EIO // of what panics
	defer func() {
		var now unix.Statx_t
		switch {
		case !st.Ok():
			f.writes.failed(what)
		case f.tree.stat(n, &now) != nil:
			f.writes.end(what, 0)
		default:
			f.writes.end(what, changeOf(&now))
		}
	}()
	st = do()
	return st
}

// entry begins a change of a name in a directory, and returns what ends it with
// the answer of the change, and whether the name is there after one that succeeds.
// Names that no file can have are not noted: they would only take memory.
func (f recorded) entry(h *fuse.InHeader, dir uint64, name string) (end func(st fuse.Status, there bool)) {
	n, errno := f.tree.get(dir)
	if errno != 0 || touches(h) || len(name) > maxName || !plainName(name) {
		return func(fuse.Status, bool) {}
	}
	what := written{dev: n.key.dev, ino: n.key.ino, name: name}
	f.writes.begin(what)
	return func(st fuse.Status, there bool) {
		if st.Ok() {
			f.writes.left(what, there)
		} else {
			f.writes.failed(what)
		}
	}
}

// making carries out what makes an entry.
func (f recorded) making(h *fuse.InHeader, dir uint64, name string, out *fuse.EntryOut, do func() fuse.Status) fuse.Status {
	st := fuse.EIO // of what panics
	end := f.entry(h, dir, name)
	defer func() { end(st, true) }()
	st = f.made(do(), out)
	return st
}

// removing carries out what takes an entry away.
func (f recorded) removing(h *fuse.InHeader, name string, do func() fuse.Status) fuse.Status {
	st := fuse.EIO
	end := f.entry(h, h.NodeId, name)
	defer func() { end(st, false) }()
	st = do()
	return st
}

// made notes a new file.
func (f recorded) made(st fuse.Status, out *fuse.EntryOut) fuse.Status {
	if st.Ok() {
		if n, errno := f.tree.get(out.NodeId); errno == 0 {
			var now unix.Statx_t
			if f.tree.stat(n, &now) == nil {
				f.writes.wrote(&now)
			}
		}
	}
	return st
}

// SetAttr implements fuse.RawFileSystem.
func (f recorded) SetAttr(c <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.changing(&in.InHeader, in.NodeId, func() fuse.Status { return f.passThrough.SetAttr(c, in, out) })
}

// Open implements fuse.RawFileSystem.
func (f recorded) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_TRUNC == 0 {
		return f.passThrough.Open(c, in, out)
	}
	return f.changing(&in.InHeader, in.NodeId, func() fuse.Status { return f.passThrough.Open(c, in, out) })
}

// Write implements fuse.RawFileSystem.
func (f recorded) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return f.Writev(c, in, [][]byte{data})
}

// Writev implements fuse.RawFileSystem.
func (f recorded) Writev(c <-chan struct{}, in *fuse.WriteIn, data [][]byte) (n uint32, st fuse.Status) {
	st = f.changing(&in.InHeader, in.NodeId, func() (st fuse.Status) {
		n, st = f.passThrough.Writev(c, in, data)
		return st
	})
	return n, st
}

// SetXAttr implements fuse.RawFileSystem.
func (f recorded) SetXAttr(c <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return f.changing(&in.InHeader, in.NodeId, func() fuse.Status { return f.passThrough.SetXAttr(c, in, name, data) })
}

// RemoveXAttr implements fuse.RawFileSystem.
func (f recorded) RemoveXAttr(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.changing(in, in.NodeId, func() fuse.Status { return f.passThrough.RemoveXAttr(c, in, name) })
}

// Fallocate implements fuse.RawFileSystem.
func (f recorded) Fallocate(c <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return f.changing(&in.InHeader, in.NodeId, func() fuse.Status { return f.passThrough.Fallocate(c, in) })
}

// CopyFileRange implements fuse.RawFileSystem.
func (f recorded) CopyFileRange(c <-chan struct{}, in *fuse.CopyFileRangeIn) (n uint32, st fuse.Status) {
	st = f.changing(&in.InHeader, in.NodeIdOut, func() (st fuse.Status) {
		n, st = f.passThrough.CopyFileRange(c, in)
		return st
	})
	return n, st
}

// Release implements fuse.RawFileSystem: the host tells of the end of writing.
func (f recorded) Release(c <-chan struct{}, in *fuse.ReleaseIn) {
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		if h := f.handles.get(in.Fh); h != nil {
			var st unix.Statx_t
			if statAt(h.fd, "", &st) == nil {
				f.writes.again(&st)
			}
			h.release()
		}
	}
	f.passThrough.Release(c, in)
}

// Mknod implements fuse.RawFileSystem.
func (f recorded) Mknod(c <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.making(&in.InHeader, in.NodeId, name, out, func() fuse.Status { return f.passThrough.Mknod(c, in, name, out) })
}

// Mkdir implements fuse.RawFileSystem.
func (f recorded) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.making(&in.InHeader, in.NodeId, name, out, func() fuse.Status { return f.passThrough.Mkdir(c, in, name, out) })
}

// Symlink implements fuse.RawFileSystem.
func (f recorded) Symlink(c <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.making(in, in.NodeId, name, out, func() fuse.Status { return f.passThrough.Symlink(c, in, target, name, out) })
}

// Create implements fuse.RawFileSystem.
func (f recorded) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.making(&in.InHeader, in.NodeId, name, &out.EntryOut, func() fuse.Status { return f.passThrough.Create(c, in, name, out) })
}

// Link implements fuse.RawFileSystem.
func (f recorded) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.making(&in.InHeader, in.NodeId, name, out, func() fuse.Status { return f.passThrough.Link(c, in, name, out) })
}

// Unlink implements fuse.RawFileSystem.
func (f recorded) Unlink(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.removing(in, name, func() fuse.Status { return f.passThrough.Unlink(c, in, name) })
}

// Rmdir implements fuse.RawFileSystem.
func (f recorded) Rmdir(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.removing(in, name, func() fuse.Status { return f.passThrough.Rmdir(c, in, name) })
}

// Rename implements fuse.RawFileSystem.
func (f recorded) Rename(c <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	exchange := in.Flags&unix.RENAME_EXCHANGE != 0
	st := fuse.EIO
	from, to := f.entry(&in.InHeader, in.NodeId, oldName), f.entry(&in.InHeader, in.Newdir, newName)
	defer func() {
		from(st, exchange)
		to(st, true)
	}()
	if st = f.passThrough.Rename(c, in, oldName, newName); st.Ok() {
		f.moved(in.Newdir, newName)
		if exchange {
			f.moved(in.NodeId, oldName)
		}
	}
	return st
}

// moved notes the file that has a name now: its time of change is new.
func (f recorded) moved(dir uint64, name string) {
	d, errno := f.tree.get(dir)
	if errno != 0 {
		return
	}
	if n := f.tree.at(place{d, name}); n != nil {
		var now unix.Statx_t
		if f.tree.stat(n, &now) == nil {
			f.writes.wrote(&now)
		}
	}
}
