package share

import (
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Operations of linux/fuse.h.
const (
	opLookup, opGetattr, opSetattr, opReadlink, opSymlink   = 1, 3, 4, 5, 6
	opMknod, opMkdir, opUnlink, opRmdir, opRename, opLink   = 8, 9, 10, 11, 12, 13
	opOpen, opRead, opStatfs, opRelease, opFsync            = 14, 15, 17, 18, 20
	opSetxattr, opGetxattr, opListxattr, opRemovexattr      = 21, 22, 23, 24
	opFlush, opOpendir, opReaddir, opReleasedir, opFsyncdir = 25, 27, 28, 29, 30
	opAccess, opCreate, opFallocate, opReaddirplus          = 34, 35, 43, 44
	opRename2, opLseek, opCopyFileRange, opTmpfile          = 45, 46, 47, 51
)

// guest sends requests as a kernel does.
type guest struct {
	t      testing.TB
	unique atomic.Uint64
	// transport carries a request out; the answer has room for size bytes.
	transport func(request []byte, size int) []byte
	uid, gid  uint32
}

// directGuest talks to the sessions without a queue.
func directGuest(t testing.TB, s *sessions) *guest {
	g := &guest{t: t}
	g.transport = func(request []byte, size int) []byte {
		h, in, ok := own([][]byte{request})
		if !ok {
			return nil
		}
		out := make([]byte, size)
		return out[:s.answer(h, in, [][]byte{out})]
	}
	return g
}

// mounted serves shares without a queue; the first begins at dir. It checks that no
// descriptor is left.
func mounted(t testing.TB, o Options, change func(*Shares), shares ...domain.Share) (*guest, *sessions) {
	t.Helper()
	before := openFiles(t)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sh, err := New(o)
	require.NoError(t, err)
	if change != nil {
		change(sh)
	}
	var dirs []directory
	for _, s := range shares {
		fd, err := openShare(s.Path)
		require.NoError(t, err)
		dirs = append(dirs, directory{fd: fd, readOnly: s.ReadOnly})
	}
	s := newSessions(o.Log, o.Cache, func() (*passThrough, error) {
		return newPassThrough(o.Log, o.Cache, sh.hidden, sh.budget, dirs)
	})
	g := directGuest(t, s)
	g.mount()
	t.Cleanup(func() {
		s.end()
		closeDirectories(dirs)
		require.Equal(t, before, openFiles(t), "descriptors are left")
	})
	return g, s
}

func openFiles(t testing.TB) int {
	e, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(e)
}

func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

func cut[T any](t testing.TB, b []byte) (v T) {
	require.GreaterOrEqual(t, len(b), int(unsafe.Sizeof(v)))
	copy(bytesOf(&v), b)
	return v
}

// call sends one request: a struct that begins with fuse.InHeader and what follows.
func call[In any](g *guest, op uint32, node uint64, in In, size int, tail ...string) ([]byte, unix.Errno) {
	g.t.Helper()
	h := (*fuse.InHeader)(unsafe.Pointer(&in))
	h.Opcode, h.NodeId, h.Unique, h.Uid, h.Gid = op, node, g.unique.Add(1), g.uid, g.gid
	b := append([]byte{}, bytesOf(&in)...)
	if op == opRename { // struct fuse_rename_in has no flags
		b = b[:headerLen+8]
	}
	if op == opSetxattr { // as it is without FUSE_SETXATTR_EXT
		b = b[:headerLen+8]
	}
	for _, s := range tail {
		b = append(b, s...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	out := g.transport(b, replyLen+size)
	if op == opForget {
		require.Empty(g.t, out)
		return nil, 0
	}
	require.GreaterOrEqual(g.t, len(out), replyLen, "operation %d", op)
	require.Equal(g.t, uint32(len(out)), binary.NativeEndian.Uint32(out))
	require.Equal(g.t, h.Unique, binary.NativeEndian.Uint64(out[8:]))
	return out[replyLen:], unix.Errno(-int32(binary.NativeEndian.Uint32(out[4:])))
}

const entryLen = int(unsafe.Sizeof(fuse.EntryOut{}))

func name(s string) string { return s + "\x00" }

func (g *guest) mount() {
	b, errno := call(g, opInit, 0, fuse.InitIn{
		Major: 7, Minor: 39, MaxReadAhead: 128 << 10, Flags: ^uint32(0),
	}, int(unsafe.Sizeof(fuse.InitOut{})))
	require.Zero(g.t, errno)
	out := cut[fuse.InitOut](g.t, b)
	require.Equal(g.t, uint32(maxTransfer), out.MaxWrite)
	require.Zero(g.t, out.Flags&(fuse.CAP_POSIX_LOCKS|fuse.CAP_FLOCK_LOCKS|fuse.CAP_NO_OPEN_SUPPORT), "locks are the guest's own")
}

func (g *guest) entry(b []byte, errno unix.Errno) (fuse.EntryOut, unix.Errno) {
	if errno != 0 {
		return fuse.EntryOut{}, errno
	}
	return cut[fuse.EntryOut](g.t, b), 0
}

func (g *guest) lookup(dir uint64, s string) (fuse.EntryOut, unix.Errno) {
	return g.entry(call(g, opLookup, dir, fuse.InHeader{}, entryLen, name(s)))
}

// walk looks names up from a share on.
func (g *guest) walk(names ...string) uint64 {
	g.t.Helper()
	at := uint64(rootID)
	for _, n := range names {
		e, errno := g.lookup(at, n)
		require.Zero(g.t, errno, "%v: %s", names, n)
		at = e.NodeId
	}
	return at
}

func (g *guest) forget(node, count uint64) { call(g, opForget, node, fuse.ForgetIn{Nlookup: count}, 0) }

func (g *guest) getattr(node uint64) (fuse.Attr, unix.Errno) {
	b, errno := call(g, opGetattr, node, fuse.GetAttrIn{}, int(unsafe.Sizeof(fuse.AttrOut{})))
	if errno != 0 {
		return fuse.Attr{}, errno
	}
	return cut[fuse.AttrOut](g.t, b).Attr, 0
}

func (g *guest) setattr(node uint64, in fuse.SetAttrInCommon) (fuse.Attr, unix.Errno) {
	b, errno := call(g, opSetattr, node, in, int(unsafe.Sizeof(fuse.AttrOut{})))
	if errno != 0 {
		return fuse.Attr{}, errno
	}
	return cut[fuse.AttrOut](g.t, b).Attr, 0
}

func (g *guest) mkdir(dir uint64, s string, mode uint32) (fuse.EntryOut, unix.Errno) {
	return g.entry(call(g, opMkdir, dir, fuse.MkdirIn{Mode: mode}, entryLen, name(s)))
}

func (g *guest) mknod(dir uint64, s string, mode uint32) (fuse.EntryOut, unix.Errno) {
	return g.entry(call(g, opMknod, dir, fuse.MknodIn{Mode: mode}, entryLen, name(s)))
}

func (g *guest) symlink(dir uint64, s, target string) (fuse.EntryOut, unix.Errno) {
	return g.entry(call(g, opSymlink, dir, fuse.InHeader{}, entryLen, name(s), name(target)))
}

func (g *guest) link(node, dir uint64, s string) (fuse.EntryOut, unix.Errno) {
	return g.entry(call(g, opLink, dir, fuse.LinkIn{Oldnodeid: node}, entryLen, name(s)))
}

func (g *guest) remove(op uint32, dir uint64, s string) unix.Errno {
	_, errno := call(g, op, dir, fuse.InHeader{}, 0, name(s))
	return errno
}

func (g *guest) rename(from uint64, s string, to uint64, d string, flags uint32) unix.Errno {
	_, errno := call(g, opRename2, from, fuse.RenameIn{Newdir: to, Flags: flags}, 0, name(s), name(d))
	return errno
}

func (g *guest) create(dir uint64, s string, flags, mode uint32) (fuse.EntryOut, uint64, unix.Errno) {
	b, errno := call(g, opCreate, dir, fuse.CreateIn{Flags: flags, Mode: mode}, int(unsafe.Sizeof(fuse.CreateOut{})), name(s))
	if errno != 0 {
		return fuse.EntryOut{}, 0, errno
	}
	c := cut[fuse.CreateOut](g.t, b)
	return c.EntryOut, c.Fh, 0
}

func (g *guest) open(op uint32, node uint64, flags uint32) (fuse.OpenOut, unix.Errno) {
	b, errno := call(g, op, node, fuse.OpenIn{Flags: flags}, int(unsafe.Sizeof(fuse.OpenOut{})))
	if errno != 0 {
		return fuse.OpenOut{}, errno
	}
	return cut[fuse.OpenOut](g.t, b), 0
}

func (g *guest) release(op uint32, node, fh uint64) {
	_, errno := call(g, op, node, fuse.ReleaseIn{Fh: fh}, 0)
	require.Zero(g.t, errno)
}

func (g *guest) read(node, fh, offset uint64, size uint32) (string, unix.Errno) {
	b, errno := call(g, opRead, node, fuse.ReadIn{Fh: fh, Offset: offset, Size: size}, int(size))
	return string(b), errno
}

func (g *guest) write(node, fh, offset uint64, flags uint32, data string) (uint32, unix.Errno) {
	b, errno := call(g, opWrite, node, fuse.WriteIn{Fh: fh, Offset: offset, Size: uint32(len(data)), Flags: flags}, 8, data)
	if errno != 0 {
		return 0, errno
	}
	return cut[fuse.WriteOut](g.t, b).Size, 0
}

// list reads a directory with or without attributes, in calls of size bytes.
func (g *guest) list(op uint32, node uint64, size uint32) map[string]fuse.DirEntry {
	g.t.Helper()
	o, errno := g.open(opOpendir, node, 0)
	require.Zero(g.t, errno)
	defer g.release(opReleasedir, node, o.Fh)
	all := map[string]fuse.DirEntry{}
	for offset := uint64(0); ; {
		b, errno := call(g, op, node, fuse.ReadIn{Fh: o.Fh, Offset: offset, Size: size}, int(size))
		require.Zero(g.t, errno)
		if len(b) == 0 {
			return all
		}
		var entries []fuse.DirEntry
		var err error
		if op == opReaddir {
			entries, err = fuse.ParseDirEntries(b)
		} else {
			entries, _, err = fuse.ParseDirLookupEntries(b)
		}
		require.NoError(g.t, err)
		for _, e := range entries {
			require.NotContains(g.t, all, e.Name)
			all[e.Name], offset = e, e.Off
		}
	}
}

func put(t testing.TB, content string, path ...string) string {
	p := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, []byte(content), 0o644))
	return p
}

func content(t testing.TB, path ...string) string {
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(b)
}
