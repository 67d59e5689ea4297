//go:build linux

package touch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a toucher of one tree, which is at another path than its directory.
func start(t *testing.T, become Identity, trees ...Tree) *Toucher {
	t.Helper()
	toucher := New(become, func() []Tree { return trees }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { toucher.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return toucher
}

func asIAm() error { return nil }

// watcher collects what inotify tells of paths.
type watcher struct {
	fd    int
	names map[int32]string
}

func watch(t *testing.T, paths ...string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	w := &watcher{fd, map[int32]string{}}
	for _, p := range paths {
		wd, err := unix.InotifyAddWatch(fd, p, unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_DELETE|unix.IN_DELETE_SELF)
		require.NoError(t, err)
		w.names[int32(wd)] = filepath.Base(p)
	}
	return w
}

// events returns what was told until now, as "watched/name mask".
func (w *watcher) events(t *testing.T) []string {
	t.Helper()
	kinds := map[uint32]string{unix.IN_MODIFY: "modify", unix.IN_ATTRIB: "attrib", unix.IN_DELETE: "delete",
		unix.IN_DELETE_SELF: "delete self", unix.IN_MODIFY | unix.IN_ISDIR: "modify dir", unix.IN_DELETE | unix.IN_ISDIR: "delete dir"}
	var out []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		require.NoError(t, err)
		for rest := buf[:n]; len(rest) > 0; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+e.Len], "\x00"))
			rest = rest[unix.SizeofInotifyEvent+e.Len:]
			if e.Mask&unix.IN_IGNORED == 0 {
				out = append(out, w.names[e.Wd]+"/"+name+" "+kinds[e.Mask])
			}
		}
	}
}

// tree is a directory with a file in a directory.
func tree(t *testing.T) (Tree, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "0")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "src"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "src/a.go"), []byte("package a"), 0o644))
	return Tree{Path: "/home/me", Dir: dir}, dir
}

func TestAChangeIsSeenByWatchersOfTheFileAndOfItsDirectory(t *testing.T) {
	tree, dir := tree(t)
	file := filepath.Join(dir, "src/a.go")
	before, err := os.Stat(file)
	require.NoError(t, err)
	toucher := start(t, asIAm, tree)
	w := watch(t, file, filepath.Dir(file))
	require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: "/home/me/src/a.go"}}))
	require.ElementsMatch(t, []string{"a.go/ modify", "src/a.go modify"}, w.events(t))
	after, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime())

	require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: "/home/me/src"}, {Path: "/home/me"}}))
	require.Equal(t, []string{"src/ modify dir"}, w.events(t))
}

func TestWhatIsGoneIsRemoved(t *testing.T) {
	tree, dir := tree(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "src/lives"), 0o755))
	toucher := start(t, asIAm, tree)
	w := watch(t, dir, filepath.Join(dir, "src"), filepath.Join(dir, "src/a.go"))
	require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{
		{Path: "/home/me/src/a.go", Removed: true},
		{Path: "/home/me/src/never", Removed: true},
		{Path: "/home/me/src/never"},
		{Path: "/home/me/src/a.go/below"},
		{Path: "/home/me/no/such/directory", Removed: true},
		{Path: "/home/me", Removed: true},
	}))
	require.Contains(t, w.events(t), "src/a.go delete")
	require.NoFileExists(t, filepath.Join(dir, "src/a.go"))
	require.DirExists(t, dir)

	// This directory is not gone, as if it had been moved.
	require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: "/home/me/src/lives", Removed: true}}))
	require.Equal(t, []string{"src/lives modify dir"}, w.events(t))
	require.DirExists(t, filepath.Join(dir, "src/lives"))
}

func TestADirectoryThatIsGoneOnTheHostIsRemoved(t *testing.T) {
	tree, dir := tree(t)
	fd, err := unix.Open(filepath.Join(dir, "src"), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	p := place{dir: tree.Dir + "/src", fd: fd, open: true}
	defer p.close()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "src/d"), 0o755))
	for _, asked := range []struct {
		st  unix.Statx_t
		err error
	}{{unix.Statx_t{Nlink: 0}, nil}, {unix.Statx_t{}, unix.ENOENT}} {
		_ = os.Mkdir(filepath.Join(dir, "src/d"), 0o755)
		require.NoError(t, p.remove("d", asked.st, asked.err))
		require.NoDirExists(t, filepath.Join(dir, "src/d"))
	}
}

func TestNothingOutsideTheTreesIsTouched(t *testing.T) {
	tree, dir := tree(t)
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link")))
	toucher := start(t, asIAm, tree)
	w := watch(t, outside, secret)
	for _, p := range []string{secret, "/home/me/out/secret", "/home/me/../../etc/x", "/home/meow/x", "/home/me/link", "/", "", "relative"} {
		for _, removed := range []bool{false, true} {
			require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: p, Removed: removed}}), "%q", p)
		}
	}
	require.Empty(t, w.events(t))
	require.FileExists(t, secret)
	require.NoFileExists(t, filepath.Join(dir, "link"), "a link itself is a file like others")
}

func TestAPathIsOfTheInnermostTree(t *testing.T) {
	trees := []Tree{{"/home/me", "0"}, {"/home/me/src", "1"}, {"/home/me/src2", "2"}}
	for p, want := range map[string]string{"/home/me/a": "0", "/home/me/src": "1", "/home/me/src/x/y": "1", "/home/me/src2/x": "2", "/home/me/src3": "0"} {
		got, ok := treeOf(trees, p)
		require.True(t, ok)
		require.Equal(t, want, got.Dir, p)
	}
	_, ok := treeOf(trees, "/home")
	require.False(t, ok)
}

func TestNobodyIsTheUserOfRequestsAndStillMayTouch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root becomes another")
	}
	tree, dir := tree(t)
	require.NoError(t, os.Chmod(filepath.Join(dir, "src"), 0o700))
	file := filepath.Join(dir, "src/a.go")
	require.NoError(t, os.Chmod(file, 0o600))
	var owner unix.Stat_t
	toucher := start(t, func() error {
		if err := Nobody(); err != nil {
			return err
		}
		// The owner of a new file is whom the requests come from.
		made := filepath.Join(dir, "made")
		if err := os.WriteFile(made, nil, 0o600); err != nil {
			return err
		}
		return unix.Stat(made, &owner)
	}, tree)
	w := watch(t, file)
	require.NoError(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: "/home/me/src/a.go"}}))
	require.Equal(t, []string{"a.go/ modify"}, w.events(t))
	require.Equal(t, domain.TouchUID, owner.Uid)
	require.Equal(t, domain.TouchUID, owner.Gid)
	// No other thread has become somebody else.
	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	require.NoError(t, unix.Stat(mine, &owner))
	require.Zero(t, owner.Uid)
}

func TestWithoutTheIdentityNothingIsTouched(t *testing.T) {
	tree, dir := tree(t)
	toucher := start(t, func() error { return unix.EPERM }, tree)
	require.ErrorIs(t, toucher.Touch(t.Context(), []domain.PathChange{{Path: "/home/me/src/a.go", Removed: true}}), unix.EPERM)
	require.FileExists(t, filepath.Join(dir, "src/a.go"))
}

func TestTheEndOfATouch(t *testing.T) {
	tree, _ := tree(t)
	toucher := New(asIAm, func() []Tree { return []Tree{tree} }, slog.New(slog.DiscardHandler))
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, toucher.Touch(short, nil), context.DeadlineExceeded, "nobody runs it yet")
	ctx, end := context.WithCancel(t.Context())
	end()
	toucher.Run(ctx)
	require.ErrorIs(t, toucher.Touch(t.Context(), nil), domain.ErrUnavailable)
}

func TestManyErrorsAreFew(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs a mount point that cannot be removed")
	}
	var changes []domain.PathChange
	for range 10 {
		changes = append(changes, domain.PathChange{Path: "/cgroup/never", Removed: false}, domain.PathChange{Path: "/proc/version", Removed: true})
	}
	err := touchAll(t.Context(), []Tree{{"/proc", "/proc"}}, changes)
	require.ErrorContains(t, err, "touch /proc/version")
	require.ErrorContains(t, err, "and 7 others")
}
