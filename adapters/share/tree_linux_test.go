package share

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// With room for a few descriptors every file is still found, also after renames.
func TestFilesAreFoundAgain(t *testing.T) {
	dir := t.TempDir()
	var few *Shares
	g, s := mounted(t, Options{}, func(sh *Shares) { sh.budget.files = 4; few = sh }, domain.Share{Path: dir})
	require.Equal(t, 4, few.budget.files)
	nodes := map[string]uint64{}
	for i := range 40 {
		d := fmt.Sprint("d", i)
		put(t, d, dir, d, "sub", "f")
		nodes[d] = g.walk("0", d, "sub", "f")
	}
	before := openFiles(t)
	check := func() {
		for d, n := range nodes {
			o, errno := g.open(opOpen, n, unix.O_RDONLY)
			require.Zero(t, errno, d)
			got, errno := g.read(n, o.Fh, 0, 10)
			require.Zero(t, errno)
			require.Equal(t, d, got)
			g.release(opRelease, n, o.Fh)
			_, errno = g.getattr(n)
			require.Zero(t, errno)
		}
	}
	check()
	share := g.walk("0")
	for i := range 40 {
		require.Zero(t, g.rename(share, fmt.Sprint("d", i), share, fmt.Sprint("e", i), 0))
	}
	require.Zero(t, g.rename(share, "e1", share, "e2", unix.RENAME_EXCHANGE))
	check()
	require.LessOrEqual(t, openFiles(t), before+4)
	require.LessOrEqual(t, s.files.tree.open, 4)
}

func TestRemovedFileIsUsedOn(t *testing.T) {
	dir := t.TempDir()
	put(t, "old", dir, "f")
	put(t, "new", dir, "n")
	g, _ := mounted(t, Options{}, func(sh *Shares) { sh.budget.files = 2 }, domain.Share{Path: dir})
	share, f := g.walk("0"), g.walk("0", "f")
	o, errno := g.open(opOpen, f, unix.O_RDWR)
	require.Zero(t, errno)
	require.Zero(t, g.rename(share, "n", share, "f", 0)) // over an open file
	now := g.walk("0", "f")
	require.NotEqual(t, f, now)
	for i := range 20 {
		put(t, "", dir, fmt.Sprint("d", i), "x")
		g.walk("0", fmt.Sprint("d", i), "x")
	}
	got, errno := g.read(f, o.Fh, 0, 10)
	require.Zero(t, errno)
	require.Equal(t, "old", got)
	a, errno := g.getattr(f)
	require.Zero(t, errno)
	require.Zero(t, a.Nlink)
	require.Zero(t, g.remove(opUnlink, share, "f"))
	a, errno = g.setattr(f, fuse.SetAttrInCommon{Valid: fuse.FATTR_SIZE | fuse.FATTR_FH, Fh: o.Fh, Size: 1})
	require.Zero(t, errno)
	require.Equal(t, uint64(1), a.Size)
	g.release(opRelease, f, o.Fh)
}

func TestChangesOnTheHostAreSeen(t *testing.T) {
	dir := t.TempDir()
	path := put(t, "one", dir, "f")
	put(t, "deep", dir, "a", "b", "f")
	g, _ := mounted(t, Options{Cache: Cache{KeepData: true}}, nil, domain.Share{Path: dir})
	f := g.walk("0", "f")
	put(t, "longer", dir, "f")
	a, errno := g.getattr(f)
	require.Zero(t, errno)
	require.Equal(t, uint64(6), a.Size)
	// Another file by that name is another file.
	require.NoError(t, os.Rename(put(t, "two", dir, "g"), path))
	require.NotEqual(t, f, g.walk("0", "f"))
	require.Equal(t, unix.ESTALE, second(g.getattr(f)), "the name leads elsewhere, the guest looks again")

	deep := g.walk("0", "a", "b", "f")
	require.NoError(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "z")))
	require.Equal(t, deep, g.walk("0", "z", "b", "f"), "the same file")
	_, errno = g.getattr(deep)
	require.Zero(t, errno)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "z")))
	require.NotZero(t, second(g.getattr(deep)))
	require.Equal(t, unix.ENOENT, second(g.lookup(g.walk("0"), "z")))

	// Cached data is good while the file is for certain the same.
	f = g.walk("0", "f")
	open := func() uint32 {
		o, errno := g.open(opOpen, f, unix.O_RDONLY)
		require.Zero(t, errno)
		g.release(opRelease, f, o.Fh)
		return o.OpenFlags & fuse.FOPEN_KEEP_CACHE
	}
	require.Zero(t, open())
	require.Zero(t, open(), "a change within a tick of the clock would not be seen")
	time.Sleep(settled + 50*time.Millisecond)
	require.Zero(t, open())
	require.NotZero(t, open())
	put(t, "TWO", dir, "f")
	require.Zero(t, open())
}

func TestForgottenFilesAreGone(t *testing.T) {
	dir := t.TempDir()
	put(t, "", dir, "a", "b", "c", "f")
	g, s := mounted(t, Options{}, nil, domain.Share{Path: dir})
	tree := s.files.tree
	known := len(tree.nodes)
	a, b, c, f := g.walk("0", "a"), g.walk("0", "a", "b"), g.walk("0", "a", "b", "c"), g.walk("0", "a", "b", "c", "f")
	_, errno := g.open(opOpen, f, unix.O_RDONLY)
	require.Zero(t, errno)
	require.Len(t, tree.nodes, known+4)
	for _, n := range []uint64{a, b, c} { // parents first: their children still need them
		g.forget(n, 100)
	}
	require.Len(t, tree.nodes, known+4)
	_, errno = g.getattr(f)
	require.Zero(t, errno)
	g.forget(f, 1)
	require.Len(t, tree.nodes, known)
	require.Len(t, tree.files, known-1)
	require.Empty(t, tree.places)
	require.Equal(t, unix.ESTALE, second(g.getattr(f)))
	g.forget(f, 1)
	g.forget(rootID, 1<<63)
	g.forget(g.walk("0"), 1<<63)
	g.walk("0", "a", "b")
}

func TestNumbersDiffer(t *testing.T) {
	var n numbers
	seen := map[uint64]bool{}
	for _, dev := range []uint64{7, 8, 9} {
		for _, ino := range []uint64{1, 2, 1<<48 - 1, 1 << 48, 1<<63 | 5, ^uint64(0)} {
			got := n.of(dev, ino)
			require.False(t, seen[got], "%d %d", dev, ino)
			require.Equal(t, got, n.of(dev, ino))
			seen[got] = true
		}
	}
	require.Equal(t, uint64(12), n.of(7, 12), "the first file system's are its own")
}
