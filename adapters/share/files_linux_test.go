package share

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

func TestGuestReadsAndWritesTheHostsFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, "from the host", dir, "sub dir", "über")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	share := g.walk("0")

	file := g.walk("0", "sub dir", "über")
	o, errno := g.open(opOpen, file, unix.O_RDONLY)
	require.Zero(t, errno)
	got, errno := g.read(file, o.Fh, 5, 100)
	require.Zero(t, errno)
	require.Equal(t, "the host", got)
	g.release(opRelease, file, o.Fh)

	e, fh, errno := g.create(share, "new", unix.O_RDWR, 0o640)
	require.Zero(t, errno)
	n, errno := g.write(e.NodeId, fh, 0, unix.O_RDWR, "hello")
	require.Zero(t, errno)
	require.Equal(t, uint32(5), n)
	_, errno = g.write(e.NodeId, fh, 1, unix.O_RDWR|unix.O_APPEND, " world") // the offset is the guest's idea
	require.Zero(t, errno)
	_, errno = call(g, opFsync, e.NodeId, fuse.FsyncIn{Fh: fh}, 0)
	require.Zero(t, errno)
	_, errno = call(g, opFlush, e.NodeId, fuse.FlushIn{Fh: fh}, 0)
	require.Zero(t, errno)
	require.Equal(t, "hello world", content(t, dir, "new"))
	st, err := os.Stat(filepath.Join(dir, "new"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), st.Mode())

	require.Equal(t, unix.EEXIST, third(g.create(share, "new", unix.O_RDWR|unix.O_EXCL, 0o600)))
	_, again, errno := g.create(share, "new", unix.O_WRONLY|unix.O_TRUNC, 0o600)
	require.Zero(t, errno)
	require.Empty(t, content(t, dir, "new"))
	g.release(opRelease, e.NodeId, again)
	g.release(opRelease, e.NodeId, fh)

	require.Zero(t, g.rename(share, "new", g.walk("0", "sub dir"), "moved", 0))
	require.FileExists(t, filepath.Join(dir, "sub dir", "moved"))
	require.Equal(t, unix.EEXIST, g.rename(g.walk("0", "sub dir"), "moved", g.walk("0", "sub dir"), "über", unix.RENAME_NOREPLACE))
	require.Zero(t, g.rename(g.walk("0", "sub dir"), "moved", g.walk("0", "sub dir"), "über", unix.RENAME_EXCHANGE))
	require.Empty(t, content(t, dir, "sub dir", "über"))
	require.Equal(t, unix.EINVAL, g.rename(share, "sub dir", share, "x", unix.RENAME_WHITEOUT))

	_, errno = g.mkdir(share, "d", 0o2775)
	require.Zero(t, errno)
	st, err = os.Stat(filepath.Join(dir, "d"))
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|os.ModeSetgid|0o775, st.Mode(), "the mask of this process does not count")
	require.Zero(t, g.remove(opRmdir, share, "d"))
	require.Equal(t, unix.ENOTEMPTY, g.remove(opRmdir, share, "sub dir"))
	require.Equal(t, unix.EISDIR, g.remove(opUnlink, share, "sub dir"))

	l, errno := g.symlink(share, "sym", "../../etc/passwd")
	require.Zero(t, errno)
	b, errno := call(g, opReadlink, l.NodeId, fuse.InHeader{}, 4096)
	require.Zero(t, errno)
	require.Equal(t, "../../etc/passwd", string(b))
	hard, errno := g.link(l.NodeId, share, "sym2")
	require.Zero(t, errno)
	require.Equal(t, l.NodeId, hard.NodeId)
	require.Equal(t, uint32(2), hard.Nlink)
}

func third[A, B, C any](_ A, _ B, c C) C { return c }
func second[A, B any](_ A, b B) B        { return b }

func TestChangesOfAttributes(t *testing.T) {
	dir := t.TempDir()
	path := put(t, "0123456789", dir, "f")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	file := g.walk("0", "f")

	a, errno := g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_SIZE, Size: 4})
	require.Zero(t, errno)
	require.Equal(t, uint64(4), a.Size)
	require.Equal(t, "0123", content(t, path))
	a, errno = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_MODE, Mode: 0o6711})
	require.Zero(t, errno)
	require.Equal(t, uint32(unix.S_IFREG|0o711), a.Mode)
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o711), st.Mode(), "no rights of the owner for others")
	_, errno = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_MTIME, Mtime: 1e9, Mtimensec: 7})
	require.Zero(t, errno)
	st, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, time.Unix(1e9, 7), st.ModTime())
	_, errno = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW})
	require.Zero(t, errno)
	st, err = os.Stat(path)
	require.NoError(t, err)
	require.Less(t, time.Since(st.ModTime()), time.Minute)
	require.Equal(t, unix.EISDIR, second(g.setattr(g.walk("0"), fuse.SetAttrInCommon{Valid: fuse.FATTR_SIZE})))
}

func TestOwners(t *testing.T) {
	dir := t.TempDir()
	path := put(t, "", dir, "f")
	require.NoError(t, os.Symlink("x", filepath.Join(dir, "l")))
	uid, gid := os.Getuid(), os.Getgid()
	g, s := mounted(t, Options{}, nil, domain.Share{Path: dir})
	a, errno := g.getattr(g.walk("0", "f"))
	require.Zero(t, errno)
	require.Equal(t, fuse.Owner{}, a.Owner, "files of this user are root's")

	chown := func(file uint64, u, gr uint32) fuse.Owner {
		a, errno := g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_UID | fuse.FATTR_GID, Owner: fuse.Owner{Uid: u, Gid: gr}})
		require.Zero(t, errno)
		return a.Owner
	}
	require.Equal(t, fuse.Owner{Uid: 999, Gid: 998}, chown(g.walk("0", "f"), 999, 998))
	a, errno = g.setattr(g.walk("0", "f"), fuse.SetAttrInCommon{Valid: fuse.FATTR_GID, Owner: fuse.Owner{Gid: 5}})
	require.Zero(t, errno)
	require.Equal(t, fuse.Owner{Uid: 999, Gid: 5}, a.Owner)
	require.Equal(t, fuse.Owner{Uid: 7, Gid: 7}, chown(g.walk("0", "l"), 7, 7), "remembered where the host cannot")

	g.uid, g.gid = 1000, 1001
	e, _, errno := g.create(g.walk("0"), "mine", unix.O_RDWR, 0o644)
	require.Zero(t, errno)
	require.Equal(t, fuse.Owner{Uid: 1000, Gid: 1001}, e.Owner)
	d, errno := g.mkdir(g.walk("0"), "mydir", 0o755)
	require.Zero(t, errno)
	require.Equal(t, fuse.Owner{Uid: 1000, Gid: 1001}, d.Owner)
	for _, n := range []string{"f", "mine", "mydir"} {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(filepath.Join(dir, n), &st))
		require.Equal(t, []int{uid, gid}, []int{int(st.Uid), int(st.Gid)}, "on the host all is this user's")
	}

	s.end() // another mount
	g.mount()
	a, errno = g.getattr(g.walk("0", "f"))
	require.Zero(t, errno)
	require.Equal(t, fuse.Owner{Uid: 999, Gid: 5}, a.Owner)
	require.NoError(t, unix.Setxattr(path, OwnerAttribute, []byte("12:13"), 0))
	time.Sleep(20 * time.Millisecond) // the clock of changes has ticks
	require.NoError(t, os.Chmod(path, 0o600))
	a, _ = g.getattr(g.walk("0", "f"))
	require.Equal(t, fuse.Owner{Uid: 12, Gid: 13}, a.Owner, "the host's record counts")

	b, errno := call(g, opListxattr, g.walk("0", "f"), fuse.GetXAttrIn{Size: 100}, 100)
	require.Zero(t, errno)
	require.Empty(t, b, "nobody in the guest sees the record")
}

func TestExtendedAttributes(t *testing.T) {
	dir := t.TempDir()
	put(t, "", dir, "f")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	f := g.walk("0", "f")
	set := func(attr, value string) unix.Errno {
		_, errno := call(g, opSetxattr, f, fuse.SetXAttrIn{Size: uint32(len(value))}, 0, name(attr), value)
		return errno
	}
	require.Zero(t, set("user.a", "value"))
	b, errno := call(g, opGetxattr, f, fuse.GetXAttrIn{Size: 64}, 64, name("user.a"))
	require.Zero(t, errno)
	require.Equal(t, "value", string(b))
	b, errno = call(g, opGetxattr, f, fuse.GetXAttrIn{}, 8, name("user.a"))
	require.Zero(t, errno)
	require.Equal(t, uint32(5), cut[uint32](t, b))
	_, errno = call(g, opGetxattr, f, fuse.GetXAttrIn{Size: 2}, 2, name("user.a"))
	require.Equal(t, unix.ERANGE, errno)
	b, errno = call(g, opListxattr, f, fuse.GetXAttrIn{Size: 64}, 64)
	require.Zero(t, errno)
	require.Equal(t, "user.a\x00", string(b))
	require.Equal(t, unix.EOPNOTSUPP, set("trusted.overlay.opaque", "y"))
	require.Equal(t, unix.EOPNOTSUPP, set("security.capability", "y"))
	require.Equal(t, unix.EPERM, set(OwnerAttribute, "0:0"))
	_, errno = call(g, opRemovexattr, f, fuse.InHeader{}, 0, name("user.a"))
	require.Zero(t, errno)
	_, errno = call(g, opGetxattr, f, fuse.GetXAttrIn{Size: 64}, 64, name("user.a"))
	require.Equal(t, unix.ENODATA, errno)
}

func TestListings(t *testing.T) {
	dir := t.TempDir()
	for i := range 3000 {
		put(t, "", dir, "d", "file-"+strconv.Itoa(i))
	}
	put(t, "", dir, "data", "secret")
	g, _ := mounted(t, Options{DataDir: filepath.Join(dir, "data")}, nil, domain.Share{Path: dir}, domain.Share{Path: dir, ReadOnly: true})
	root := g.list(opReaddir, rootID, 4096)
	require.Len(t, root, 4)
	for _, op := range []uint32{opReaddir, opReaddirplus} {
		for _, size := range []uint32{400, 4096, 1 << 20} {
			all := g.list(op, g.walk("0", "d"), size)
			require.Len(t, all, 3002)
			require.Equal(t, uint32(unix.S_IFREG), all["file-7"].Mode)
		}
		require.NotContains(t, g.list(op, g.walk("0"), 4096), "data")
	}
	// Entries that go while the guest reads.
	d := g.walk("0", "d")
	o, errno := g.open(opOpendir, d, 0)
	require.Zero(t, errno)
	seen := map[string]bool{}
	for offset := uint64(0); ; {
		b, errno := call(g, opReaddir, d, fuse.ReadIn{Fh: o.Fh, Offset: offset, Size: 2000}, 2000)
		require.Zero(t, errno)
		if len(b) == 0 {
			break
		}
		entries, err := fuse.ParseDirEntries(b)
		require.NoError(t, err)
		for _, e := range entries {
			require.False(t, seen[e.Name], e.Name)
			seen[e.Name] = true
			offset = e.Off
			if e.Name != "." && e.Name != ".." {
				require.Zero(t, g.remove(opUnlink, d, e.Name))
			}
		}
	}
	require.Len(t, seen, 3002)
	g.release(opReleasedir, d, o.Fh)
	require.Zero(t, g.remove(opRmdir, g.walk("0"), "d"))
}

func TestDataOperations(t *testing.T) {
	dir := t.TempDir()
	put(t, "abcdefgh", dir, "a")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	a := g.walk("0", "a")
	from, errno := g.open(opOpen, a, unix.O_RDONLY)
	require.Zero(t, errno)
	b, to, errno := g.create(g.walk("0"), "b", unix.O_RDWR, 0o644)
	require.Zero(t, errno)
	out, errno := call(g, opCopyFileRange, a, fuse.CopyFileRangeIn{
		FhIn: from.Fh, OffIn: 2, NodeIdOut: b.NodeId, FhOut: to, OffOut: 1, Len: 100,
	}, 8)
	require.Zero(t, errno)
	require.Equal(t, uint32(6), cut[fuse.WriteOut](t, out).Size)
	require.Equal(t, "\x00cdefgh", content(t, dir, "b"))
	_, errno = call(g, opFallocate, b.NodeId, fuse.FallocateIn{Fh: to, Offset: 1 << 20, Length: 10}, 0)
	require.Zero(t, errno)
	out, errno = call(g, opLseek, b.NodeId, fuse.LseekIn{Fh: to, Offset: 0, Whence: unix.SEEK_HOLE}, 8)
	require.Zero(t, errno)
	require.Less(t, cut[uint64](t, out), uint64(1<<20+11))
	_, errno = call(g, opStatfs, a, fuse.InHeader{}, int(80))
	require.Zero(t, errno)

	tmp, errno := call(g, opTmpfile, g.walk("0"), fuse.CreateIn{Flags: unix.O_RDWR, Mode: 0o600}, 200, name("/"))
	require.Zero(t, errno)
	c := cut[fuse.CreateOut](t, tmp)
	_, errno = g.write(c.NodeId, c.Fh, 0, unix.O_RDWR, "tmp")
	require.Zero(t, errno)
	_, errno = g.link(c.NodeId, g.walk("0"), "named")
	require.Zero(t, errno)
	require.Equal(t, "tmp", content(t, dir, "named"))
}
