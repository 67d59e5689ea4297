package share

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// recorded notes what a mount of the guest changes.
type recorded struct{ *passThrough }

// file begins a change of a file, and returns what ends it.
func (f recorded) file(h *fuse.InHeader, id uint64) (end func()) {
	n, errno := f.tree.get(id)
	if errno != 0 || touches(h) {
		return func() {}
	}
	what := written{dev: n.key.dev, ino: n.key.ino}
	f.writes.begin(what)
	return func() {
		var st unix.Statx_t
		if f.tree.stat(n, &st) != nil {
			f.writes.end(what, 0)
			return
		}
		f.writes.end(what, changeOf(&st))
	}
}

// entry begins a change of a name in a directory, and returns what ends it.
func (f recorded) entry(h *fuse.InHeader, dir uint64, name string) (end func()) {
	n, errno := f.tree.get(dir)
	if errno != 0 || touches(h) {
		return func() {}
	}
	what := written{dev: n.key.dev, ino: n.key.ino, name: name}
	f.writes.begin(what)
	return func() { f.writes.end(what, 0) }
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
	defer f.file(&in.InHeader, in.NodeId)()
	return f.passThrough.SetAttr(c, in, out)
}

// Open implements fuse.RawFileSystem.
func (f recorded) Open(c <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_TRUNC != 0 {
		defer f.file(&in.InHeader, in.NodeId)()
	}
	return f.passThrough.Open(c, in, out)
}

// Write implements fuse.RawFileSystem.
func (f recorded) Write(c <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer f.file(&in.InHeader, in.NodeId)()
	return f.passThrough.Write(c, in, data)
}

// Writev implements fuse.RawFileSystem.
func (f recorded) Writev(c <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	defer f.file(&in.InHeader, in.NodeId)()
	return f.passThrough.Writev(c, in, data)
}

// Fallocate implements fuse.RawFileSystem.
func (f recorded) Fallocate(c <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	defer f.file(&in.InHeader, in.NodeId)()
	return f.passThrough.Fallocate(c, in)
}

// CopyFileRange implements fuse.RawFileSystem.
func (f recorded) CopyFileRange(c <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	defer f.file(&in.InHeader, in.NodeIdOut)()
	return f.passThrough.CopyFileRange(c, in)
}

// Mknod implements fuse.RawFileSystem.
func (f recorded) Mknod(c <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer f.entry(&in.InHeader, in.NodeId, name)()
	return f.made(f.passThrough.Mknod(c, in, name, out), out)
}

// Mkdir implements fuse.RawFileSystem.
func (f recorded) Mkdir(c <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer f.entry(&in.InHeader, in.NodeId, name)()
	return f.made(f.passThrough.Mkdir(c, in, name, out), out)
}

// Symlink implements fuse.RawFileSystem.
func (f recorded) Symlink(c <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	defer f.entry(in, in.NodeId, name)()
	return f.made(f.passThrough.Symlink(c, in, target, name, out), out)
}

// Create implements fuse.RawFileSystem.
func (f recorded) Create(c <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer f.entry(&in.InHeader, in.NodeId, name)()
	return f.made(f.passThrough.Create(c, in, name, out), &out.EntryOut)
}

// Link implements fuse.RawFileSystem.
func (f recorded) Link(c <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	defer f.entry(&in.InHeader, in.NodeId, name)()
	return f.made(f.passThrough.Link(c, in, name, out), out)
}

// Unlink implements fuse.RawFileSystem.
func (f recorded) Unlink(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer f.entry(in, in.NodeId, name)()
	return f.passThrough.Unlink(c, in, name)
}

// Rmdir implements fuse.RawFileSystem.
func (f recorded) Rmdir(c <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	defer f.entry(in, in.NodeId, name)()
	return f.passThrough.Rmdir(c, in, name)
}

// Rename implements fuse.RawFileSystem.
func (f recorded) Rename(c <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	defer f.entry(&in.InHeader, in.NodeId, oldName)()
	defer f.entry(&in.InHeader, in.Newdir, newName)()
	st := f.passThrough.Rename(c, in, oldName, newName)
	if st.Ok() {
		f.moved(in.Newdir, newName)
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
