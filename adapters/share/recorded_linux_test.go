package share

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func noted(t *testing.T) (*Shares, recorded, uint64, string) {
	t.Helper()
	dir := t.TempDir()
	fd, err := openShare(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	f, err := newPassThrough(nil, Cache{}, hidden{}, budget{files: 64, handles: 1024}, []directory{{fd: fd}})
	require.NoError(t, err)
	t.Cleanup(f.close)
	s := &Shares{writes: newWrites()}
	f.writes = s.writes
	return s, recorded{f}, f.shares[0].root.id, dir
}

func (f recorded) testCreate(t *testing.T, dir uint64, name string, flags uint32) (id, handle uint64) {
	t.Helper()
	in := &fuse.CreateIn{Flags: flags, Mode: 0o644}
	in.NodeId = dir
	var out fuse.CreateOut
	require.Equal(t, fuse.OK, f.Create(nil, in, name, &out))
	return out.NodeId, out.Fh
}

func TestWroteKnowsWhoseTheLastChangeIs(t *testing.T) {
	s, f, root, dir := noted(t)
	path := filepath.Join(dir, "a")
	id, fh := f.testCreate(t, root, "a", unix.O_RDWR)
	require.True(t, s.Wrote(path), "made by the guest")

	tick := func() { time.Sleep(20 * time.Millisecond) } // of the clock of files' times
	tick()
	require.NoError(t, os.WriteFile(path, []byte("host"), 0o600))
	require.False(t, s.Wrote(path), "changed by the host")
	in := &fuse.WriteIn{Fh: 1 << 40, Size: 1}
	in.NodeId = id
	_, st := f.Write(nil, in, []byte("x"))
	require.Equal(t, fuse.EBADF, st)
	require.False(t, s.Wrote(path), "a write that failed changed nothing")

	tick()
	in.Fh = fh
	_, st = f.Write(nil, in, []byte("x"))
	require.Equal(t, fuse.OK, st)
	require.True(t, s.Wrote(path))

	// A file that the guest has only made is not removed by the guest.
	require.NoError(t, os.Remove(path))
	require.False(t, s.Wrote(path), "removed by the host")

	f.testCreate(t, root, "b", unix.O_RDWR)
	h := &fuse.InHeader{NodeId: root}
	require.Equal(t, fuse.OK, f.Unlink(nil, h, "b"))
	require.True(t, s.Wrote(filepath.Join(dir, "b")), "removed by the guest")
	require.Equal(t, fuse.ENOENT, f.Unlink(nil, h, "b"))
	require.True(t, s.Wrote(filepath.Join(dir, "b")), "still")
	for _, n := range s.writes.notes {
		require.Zero(t, n.busy)
	}
}

func TestExchangeIsTheGuests(t *testing.T) {
	s, f, root, dir := noted(t)
	f.testCreate(t, root, "a", unix.O_RDWR)
	f.testCreate(t, root, "b", unix.O_RDWR)
	in := &fuse.RenameIn{Newdir: root, Flags: unix.RENAME_EXCHANGE}
	in.NodeId = root
	require.Equal(t, fuse.OK, f.Rename(nil, in, "a", "b"))
	require.True(t, s.Wrote(filepath.Join(dir, "a")))
	require.True(t, s.Wrote(filepath.Join(dir, "b")))
	in.Flags = 0
	require.Equal(t, fuse.OK, f.Rename(nil, in, "a", "c"))
	require.True(t, s.Wrote(filepath.Join(dir, "a")))
	require.True(t, s.Wrote(filepath.Join(dir, "c")))
}

func TestClosingIsAsNewAsTheLastWrite(t *testing.T) {
	s, f, root, dir := noted(t)
	id, fh := f.testCreate(t, root, "a", unix.O_RDWR)
	for _, n := range s.writes.notes {
		n.at = n.at.Add(-remembered)
	}
	require.False(t, s.Wrote(filepath.Join(dir, "a")))
	in := &fuse.ReleaseIn{Fh: fh, Flags: unix.O_RDWR}
	in.NodeId = id
	f.Release(nil, in)
	require.True(t, s.Wrote(filepath.Join(dir, "a")))
}

func TestNamesThatCannotBeTakeNoMemory(t *testing.T) {
	s, f, root, _ := noted(t)
	h := &fuse.InHeader{NodeId: root}
	require.Equal(t, fuse.Status(unix.ENAMETOOLONG), f.Unlink(nil, h, strings.Repeat("x", maxName+1)))
	require.Equal(t, fuse.ENOENT, f.Unlink(nil, h, "missing"))
	require.Empty(t, s.writes.notes)
}

func TestNamelessFilesAreBounded(t *testing.T) {
	_, f, root, _ := noted(t)
	in := &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}
	in.NodeId = root
	st := fuse.OK
	for range 100 {
		if st = f.Tmpfile(nil, in, &fuse.CreateOut{}); !st.Ok() {
			break
		}
	}
	require.Equal(t, fuse.Status(unix.ENFILE), st)
}

func TestDepartedFilesAreBounded(t *testing.T) {
	_, f, root, _ := noted(t)
	dir, errno := f.tree.get(root)
	require.Zero(t, errno)
	var last *node
	for i := range maxDeparted {
		last = f.tree.revive(place{dir, strings.Repeat("x", 1+i%7) + string(rune('0'+i/7))})
		require.NotNil(t, last)
	}
	require.Nil(t, f.tree.revive(place{dir, "one more"}))
	f.tree.forget(last.id, 1)
	require.NotNil(t, f.tree.revive(place{dir, "one more"}))
}

// A directory that is listed while others take all the buffers loses no entry.
func TestListingWithoutABufferOfItsOwn(t *testing.T) {
	_, f, root, dir := noted(t)
	want := map[string]bool{}
	for i := range 100 {
		name := "f" + strings.Repeat("y", i)
		want[name] = true
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	for _, kept := range []int64{0, maxLists} {
		f.handles.lists.kept.Store(kept)
		in := &fuse.OpenIn{}
		in.NodeId = root
		var open fuse.OpenOut
		require.Equal(t, fuse.OK, f.OpenDir(nil, in, &open))
		got := map[string]bool{}
		for offset := uint64(0); ; {
			r := &fuse.ReadIn{Fh: open.Fh, Offset: offset}
			r.NodeId = root
			n := 0
			require.Equal(t, fuse.OK, f.list(r, func(_ *node, _ int, e *entry) bool {
				if n == 7 {
					return false
				}
				n++
				if e.name != "." && e.name != ".." {
					require.False(t, got[e.name], e.name)
					got[e.name] = true
				}
				offset = e.next
				return true
			}))
			if n == 0 {
				break
			}
		}
		require.Equal(t, want, got)
		f.ReleaseDir(&fuse.ReleaseIn{Fh: open.Fh})
		require.Equal(t, kept, f.handles.lists.kept.Load())
	}
}

func TestForgettingADeepTreeNeedsNoStack(t *testing.T) {
	tr := newTree(8)
	s := &shared{}
	top := tr.addRoot(s, fileKey{ino: 1}, -1)
	top.fd, top.keep = -1, false
	at := top
	const depth = 1 << 10
	for i := range depth {
		tr.mu.Lock()
		n := tr.add(s, fileKey{ino: uint64(i + 2)}, unix.S_IFDIR)
		n.parent, n.name = at, "d"
		at.children++
		tr.mu.Unlock()
		at = n
	}
	tr.mu.Lock()
	at.lookups = 1
	tr.mu.Unlock()
	tr.forget(at.id, 1)
	require.Len(t, tr.nodes, 2) // the device's root and the share
}

func TestTruncateByTheHandleAndByTheName(t *testing.T) {
	_, f, root, dir := noted(t)
	in := &fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o444}
	in.NodeId = root
	var out fuse.CreateOut
	require.Equal(t, fuse.OK, f.Create(nil, in, "a", &out))
	set := &fuse.SetAttrIn{}
	set.NodeId = out.NodeId
	set.Valid, set.Fh, set.Size = fuse.FATTR_SIZE|fuse.FATTR_FH, out.Fh, 5
	require.Equal(t, fuse.OK, f.SetAttr(nil, set, &fuse.AttrOut{}))
	set.Valid, set.Size = fuse.FATTR_SIZE, 7 // without one, by the name
	require.Equal(t, fuse.OK, f.SetAttr(nil, set, &fuse.AttrOut{}))
	info, err := os.Stat(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.EqualValues(t, 7, info.Size())
}

func TestWhatLeadsToTheHiddenDirectoryStays(t *testing.T) {
	_, f, root, dir := noted(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data", "sub", "arcbox"), 0o700))
	var err error
	f.hidden, err = hide(filepath.Join(dir, "data", "sub", "arcbox"))
	require.NoError(t, err)
	f.testCreate(t, root, "other", unix.O_RDWR)
	in := &fuse.RenameIn{Newdir: root}
	in.NodeId = root
	require.Equal(t, fuse.EBUSY, f.Rename(nil, in, "data", "old"))
	in.Flags = unix.RENAME_EXCHANGE
	require.Equal(t, fuse.EBUSY, f.Rename(nil, in, "other", "data"))
	in.Flags = 0
	require.Equal(t, fuse.OK, f.Rename(nil, in, "other", "old"))
}
