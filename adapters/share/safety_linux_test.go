package share

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// mutations tries everything that changes the host, on a share with a file "f", a
// directory "d" and a file handle fh for reading.
func mutations(g *guest, share, file, fh uint64) map[string]unix.Errno {
	d := g.walk("0", "d")
	r := map[string]unix.Errno{
		"write-open": second(g.open(opOpen, file, unix.O_WRONLY)),
		"truncate":   second(g.open(opOpen, file, unix.O_RDONLY|unix.O_TRUNC)),
		"create":     third(g.create(share, "new", unix.O_RDWR, 0o644)),
		"mkdir":      second(g.mkdir(share, "new", 0o755)),
		"mknod":      second(g.mknod(share, "new", unix.S_IFREG|0o644)),
		"symlink":    second(g.symlink(share, "new", "x")),
		"link":       second(g.link(file, share, "new")),
		"rename":     g.rename(share, "f", share, "new", 0),
		"rename-in":  g.rename(share, "f", d, "f", 0),
	}
	_, r["setxattr"] = call(g, opSetxattr, file, fuse.SetXAttrIn{Size: 1}, 0, name("user.a"), "v")
	_, r["removexattr"] = call(g, opRemovexattr, file, fuse.InHeader{}, 0, name("user.a"))
	_, r["tmpfile"] = call(g, opTmpfile, share, fuse.CreateIn{Flags: unix.O_RDWR}, 200, name("/"))
	return r
}

func picture(t testing.TB, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		var st unix.Statx_t
		require.NoError(t, statAt(unix.AT_FDCWD, p, &st))
		text := d.Type().String()
		if d.Type().IsRegular() {
			text += content(t, p)
		}
		all[p] = strings.Join([]string{text, d.Name(), fs.FileMode(st.Mode).String()}, " ")
		return nil
	}))
	return all
}

func TestReadOnlyShareStaysAsItIs(t *testing.T) {
	dir := t.TempDir()
	put(t, "text", dir, "f")
	put(t, "text", dir, "d", "g")
	before := picture(t, dir)
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir, ReadOnly: true})
	share, file := g.walk("0"), g.walk("0", "f")
	o, errno := g.open(opOpen, file, unix.O_RDONLY)
	require.Zero(t, errno)
	r := mutations(g, share, file, o.Fh)
	r["unlink"] = g.remove(opUnlink, share, "f")
	r["rmdir"] = g.remove(opRmdir, share, "d")
	_, r["chmod"] = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_MODE})
	_, r["chown"] = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_UID})
	_, r["size"] = g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_SIZE})
	_, r["access"] = call(g, opAccess, file, fuse.AccessIn{Mask: unix.W_OK}, 0)
	for what, errno := range r {
		require.Equal(t, unix.EROFS, errno, what)
	}
	require.Equal(t, unix.EBADF, second(g.write(file, o.Fh, 0, unix.O_RDWR, "x")), "it was opened for reading")
	require.Equal(t, before, picture(t, dir))
}

// A directory that is shared for reading stays so by way of a share around it.
func TestReadOnlyShareInsideAnother(t *testing.T) {
	dir := t.TempDir()
	put(t, "text", dir, "ro", "f")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir}, domain.Share{Path: filepath.Join(dir, "ro"), ReadOnly: true})
	require.Equal(t, unix.EROFS, third(g.create(g.walk("0", "ro"), "new", unix.O_RDWR, 0o644)))
	require.Equal(t, unix.EROFS, g.remove(opUnlink, g.walk("0", "ro"), "f"))
	require.Equal(t, unix.EROFS, second(g.open(opOpen, g.walk("0", "ro", "f"), unix.O_RDWR)))
}

func TestTouchChangesNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, "text", dir, "f")
	put(t, "text", dir, "d", "g")
	gone := put(t, "text", dir, "gone")
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	share, file := g.walk("0"), g.walk("0", "f")
	was := g.walk("0", "gone")
	o, errno := g.open(opOpen, file, unix.O_RDWR)
	require.Zero(t, errno)
	require.NoError(t, os.Remove(gone))
	before := picture(t, dir)
	g.uid = domain.TouchUID
	for what, errno := range mutations(g, share, file, o.Fh) {
		require.Equal(t, unix.EPERM, errno, what)
	}
	require.Equal(t, unix.EPERM, second(g.write(file, o.Fh, 0, unix.O_RDWR, "x")))
	_, errno = call(g, opFallocate, file, fuse.FallocateIn{Fh: o.Fh, Length: 100}, 0)
	require.Equal(t, unix.EPERM, errno)
	a, errno := g.setattr(file, fuse.SetAttrInCommon{Valid: fuse.FATTR_MTIME | fuse.FATTR_SIZE | fuse.FATTR_MODE, Mtime: 5})
	require.Zero(t, errno)
	require.Equal(t, uint64(4), a.Size)
	require.NotEqual(t, uint64(5), a.Mtime)
	require.Zero(t, g.remove(opUnlink, share, "f"))
	require.Zero(t, g.remove(opRmdir, share, "d"))
	require.Equal(t, before, picture(t, dir))

	e, errno := g.lookup(share, "gone")
	require.Zero(t, errno, "the kernel removes what it finds")
	require.Equal(t, was, e.NodeId)
	require.Zero(t, g.remove(opUnlink, share, "gone"))
	e, errno = g.lookup(share, "never")
	require.Zero(t, errno)
	g.forget(e.NodeId, 1)
	g.uid = 0
	require.Equal(t, unix.ENOENT, second(g.lookup(share, "gone")))
	require.Equal(t, unix.ENOENT, second(g.lookup(share, "never")))
}

func TestDataDirectoryIsHidden(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "home", ".arcbox")
	put(t, "secret", data, "key")
	put(t, "", dir, "home", "f")
	g, _ := mounted(t, Options{DataDir: data}, nil, domain.Share{Path: dir})
	home := g.walk("0", "home")
	require.Equal(t, unix.ENOENT, second(g.lookup(home, ".arcbox")))
	require.Equal(t, unix.ENOENT, g.rename(home, ".arcbox", home, "x", 0))
	require.Equal(t, unix.ENOENT, g.rename(home, "f", home, ".arcbox", unix.RENAME_EXCHANGE))
	require.NotZero(t, g.remove(opRmdir, home, ".arcbox"))
	require.NotZero(t, second(g.mkdir(home, ".arcbox", 0o755)))
	require.NotContains(t, g.list(opReaddir, home, 4096), ".arcbox")
	require.NotContains(t, g.list(opReaddirplus, home, 4096), ".arcbox")
	require.Equal(t, "secret", content(t, data, "key"))
}

func TestNothingOutsideIsReached(t *testing.T) {
	dir := t.TempDir()
	put(t, "secret", dir, "outside", "secret")
	put(t, "", dir, "share", "f")
	require.NoError(t, os.Symlink("../outside", filepath.Join(dir, "share", "link")))
	require.NoError(t, os.Symlink("../outside/secret", filepath.Join(dir, "share", "file")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "share", "pipe"), 0o644))
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: filepath.Join(dir, "share")})
	share := g.walk("0")
	for _, n := range []string{"..", ".", "", "a/b", "../outside", "/etc", "link/secret"} {
		require.Equal(t, unix.EINVAL, second(g.lookup(share, n)), n)
		require.Equal(t, unix.EINVAL, third(g.create(share, n, unix.O_RDWR, 0o600)), n)
		require.Equal(t, unix.EINVAL, g.rename(share, "f", share, n, 0), n)
		require.Equal(t, unix.EINVAL, g.remove(opUnlink, share, n), n)
	}
	require.Equal(t, unix.ENAMETOOLONG, second(g.lookup(share, strings.Repeat("x", 256))))
	for _, n := range []string{"..", "1", "-1", "00", "+0", "a"} {
		require.Equal(t, unix.ENOENT, second(g.lookup(rootID, n)), n)
	}
	link := g.walk("0", "link")
	require.Equal(t, unix.ENOTDIR, second(g.lookup(link, "secret")))
	require.Equal(t, unix.ENOTDIR, second(g.open(opOpendir, link, 0)))
	for _, n := range []string{"file", "link", "pipe"} {
		require.Equal(t, unix.EACCES, second(g.open(opOpen, g.walk("0", n), unix.O_RDONLY)), n)
		require.NotZero(t, third(g.create(share, n, unix.O_WRONLY|unix.O_TRUNC, 0o600)), n)
	}
	require.Equal(t, unix.EPERM, second(g.mknod(share, "dev", unix.S_IFCHR|0o600)))
	require.Equal(t, unix.EPERM, second(g.mknod(share, "dev", unix.S_IFBLK|0o600)))
	require.Zero(t, second(g.mknod(share, "fifo", unix.S_IFIFO|0o600)))
	require.Equal(t, unix.EPERM, second(g.mkdir(rootID, "x", 0o755)))
	require.Equal(t, "secret", content(t, dir, "outside", "secret"))
}

func TestWindowsIntoTheKernelAreClosed(t *testing.T) {
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: "/", ReadOnly: true})
	require.Equal(t, unix.EACCES, second(g.lookup(g.walk("0"), "proc")))
	s, err := New(Options{})
	require.NoError(t, err)
	for _, path := range []string{"/proc", "/proc/self", "/nowhere", "/etc/passwd"} {
		_, err := s.Open("m", []domain.Share{{Path: path}})
		require.ErrorIs(t, err, domain.ErrInvalid, path)
	}
}

func TestSetUserIDBitsAreLostOnWrite(t *testing.T) {
	dir := t.TempDir()
	path := put(t, "x", dir, "f")
	require.NoError(t, unix.Chmod(path, 0o6755))
	g, _ := mounted(t, Options{}, nil, domain.Share{Path: dir})
	f := g.walk("0", "f")
	a, errno := g.getattr(f)
	require.Zero(t, errno)
	require.Equal(t, uint32(unix.S_IFREG|0o755), a.Mode)
	o, errno := g.open(opOpen, f, unix.O_RDWR)
	require.Zero(t, errno)
	_, errno = g.write(f, o.Fh, 0, unix.O_RDWR, "y")
	require.Zero(t, errno)
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), st.Mode())
}
