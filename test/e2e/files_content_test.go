package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (f *files) ownership(t *testing.T) {
	dir := f.makeDir(t, "ownership")
	require.NoError(t, os.Chmod(dir, 0o777)) //nolint:gosec // another user of the container writes here
	for user, name := range map[string]string{"0:0": "root", "1234:4321": "other"} {
		i := f.inside(t, "-u", user, bind(dir, "/work"))
		i.ask("mkdir", "/work/"+name, "")
		i.ask("write", "/work/"+name+"/file", "made inside")
		for path, mode := range map[string]os.FileMode{name: os.ModeDir | 0o755, name + "/file": 0o644} {
			info, err := os.Stat(filepath.Join(dir, path))
			require.NoError(t, err)
			st := info.Sys().(*syscall.Stat_t)
			require.Equal(t, []int{os.Getuid(), os.Getgid()}, []int{int(st.Uid), int(st.Gid)}, path)
			require.Equal(t, mode, info.Mode(), path)
		}
		require.Equal(t, "made inside", read(t, filepath.Join(dir, name, "file")))
		i.ask("append", "/work/"+name+"/file", ", and more")
		require.Equal(t, "made inside, and more", read(t, filepath.Join(dir, name, "file")))
	}
	// What the host has shows inside as it is.
	write(t, filepath.Join(dir, "host"), "x")
	require.NoError(t, os.Chmod(filepath.Join(dir, "host"), 0o750)) //nolint:gosec // a mode to look for
	st := f.inside(t, bind(dir, "/work")).stat("/work/host")
	require.Equal(t, uint32(syscall.S_IFREG|0o750), st.Mode)
	// A container may not give files away on the host.
	f.must(t, "run", "--rm", bind(dir, "/work"), demo, "sh", "-c", "chown 4242:4242 /work/host; true")
	info, err := os.Stat(filepath.Join(dir, "host"))
	require.NoError(t, err)
	require.Equal(t, os.Getuid(), int(info.Sys().(*syscall.Stat_t).Uid))
}

// edits are 200, in place and by rename, longer, shorter and of equal length,
// each looked at once, without waiting.
func (f *files) edits(t *testing.T) {
	dir := f.makeDir(t, "edits")
	i := f.inside(t, bind(dir, "/work"))
	file, other := filepath.Join(dir, "file"), filepath.Join(dir, "other")
	write(t, file, "0")
	i.open("open", "kept", "/work/file")
	for n := range 200 {
		text := fmt.Sprintf("edit %d %s", n, strings.Repeat("x", n%7*n%5))
		if n%2 == 0 || n < 100 {
			write(t, file, text)
		} else {
			write(t, other, text)
			require.NoError(t, os.Rename(other, file))
		}
		require.Equal(t, text, i.ask("read", "/work/file", ""))
		require.Equal(t, int64(len(text)), i.stat("/work/file").Size)
		if n < 100 {
			require.Equal(t, text, i.on("readopen", "kept", ""), "of a file that is kept open")
		}
	}
	// Names that come and go.
	for n := range 20 {
		name := "name" + strconv.Itoa(n)
		require.NotEmpty(t, i.try(question{Do: "stat", Path: "/work/" + name}).Error)
		write(t, filepath.Join(dir, name), "")
		i.stat("/work/" + name)
		require.Contains(t, i.ask("list", "/work", ""), name)
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		require.NotEmpty(t, i.try(question{Do: "stat", Path: "/work/" + name}).Error)
		require.NotContains(t, i.ask("list", "/work", ""), name)
	}
}

func (f *files) syncs(t *testing.T) {
	dir := f.makeDir(t, "syncs")
	i := f.inside(t, bind(dir, "/work"))
	i.open("open", "file", "/work/file")
	for n := range 20 {
		text := fmt.Sprintf("content %02d", n)
		i.on("writeopen", "file", text)
		i.on("sync", "file", "")
		require.Equal(t, text, read(t, filepath.Join(dir, "file")))
	}
}

func (f *files) renames(t *testing.T) {
	dir := f.makeDir(t, "renames")
	i := f.inside(t, bind(dir, "/work"))
	file := filepath.Join(dir, "file")
	write(t, file, "old")
	write(t, file+".new", "new")
	i.open("open", "old", "/work/file")
	require.NoError(t, os.Rename(file+".new", file))
	require.Equal(t, "old", i.on("readopen", "old", ""), "what is open stays what it was")
	require.Equal(t, "new", i.ask("read", "/work/file", ""))

	open, err := os.Open(file)
	require.NoError(t, err)
	defer open.Close()
	i.ask("write", "/work/newer", "newer")
	i.ask("rename", "/work/newer", "/work/file")
	require.Equal(t, "newer", read(t, file))
	buf := make([]byte, 8)
	n, err := open.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "new", string(buf[:n]))

	require.NoError(t, os.Remove(file))
	i.on("writeopen", "old", "lost, but no error")
	i.on("close", "old", "")
	require.NoFileExists(t, file)
}

func (f *files) locks(t *testing.T) {
	dir := f.makeDir(t, "locks")
	a, b := f.inside(t, bind(dir, "/work")), f.inside(t, bind(dir, "/other"))
	a.open("open", "l", "/work/lock")
	b.open("open", "l", "/other/lock")
	for _, kind := range []string{"flock", "fcntl"} {
		a.on("lock", "l", kind)
		require.Contains(t, b.try(question{Do: "lock", Name: "l", Data: kind}).Error, "resource temporarily unavailable", kind)
		a.on("unlock", "l", kind)
		b.on("lock", "l", kind)
		require.NotEmpty(t, a.try(question{Do: "lock", Name: "l", Data: kind}).Error, kind)
		b.on("close", "l", "") // which gives the lock back
		a.on("lock", "l", kind)
		a.on("unlock", "l", kind)
		b.open("open", "l", "/other/lock")
	}

	const containers, times = 2, 300
	for _, kind := range []string{"flock", "fcntl"} {
		write(t, filepath.Join(dir, kind), "0\n")
		ended := make(chan error, containers)
		for range containers {
			go func() {
				_, err := f.docker(t.Context(), "run", "--rm", bind(dir, "/work"), fsx, "count", "-file", "/work/"+kind, "-lock", kind, "-times", strconv.Itoa(times))
				ended <- err
			}()
		}
		for range containers {
			require.NoError(t, <-ended)
		}
		require.Equal(t, strconv.Itoa(containers*times)+"\n", read(t, filepath.Join(dir, kind)), kind)
	}
}

func (f *files) watchers(t *testing.T) {
	dir := f.makeDir(t, "watchers")
	write(t, filepath.Join(dir, "file"), "one")
	i := f.inside(t, bind(dir, "/work"))
	i.open("watch", "w", "/work")
	// The watch on the host begins with the container: by the time of an answer
	// from inside, it may still be on its way.
	f.untilEvent(t, i, func(n int) { write(t, filepath.Join(dir, "file"), fmt.Sprint("two", n)) }, " file\n")
	var worst time.Duration
	for n := range 10 {
		began := time.Now()
		write(t, filepath.Join(dir, "file"), fmt.Sprint("edit ", n))
		for events := ""; !strings.Contains(events, "MODIFY file\n"); {
			events = i.on("event", "w", "20s")
		}
		worst = max(worst, time.Since(began))
		require.Equal(t, fmt.Sprint("edit ", n), i.ask("read", "/work/file", ""))
	}
	t.Logf("an event took %s at most", worst)
	require.Less(t, worst, 3*time.Second)
	write(t, filepath.Join(dir, "new"), "new")
	f.untilEvent(t, i, nil, " new\n")
	require.NoError(t, os.Remove(filepath.Join(dir, "new")))
	require.Contains(t, f.untilEvent(t, i, nil, "DELETE new\n"), "DELETE new\n")
	require.Equal(t, "edit 9", read(t, filepath.Join(dir, "file")), "nothing of it changed the host")
}

// untilEvent reads events until one is there, and has the host act, and act
// again each second, if again is not nil.
func (f *files) untilEvent(t *testing.T, i *inside, again func(int), want string) string {
	t.Helper()
	all, wait := "", "20s"
	if again != nil {
		wait = "1s"
	}
	for n := range 20 {
		if again != nil {
			again(n)
		}
		for all = ""; ; {
			r := i.try(question{Do: "event", Name: "w", Data: wait})
			all += r.Data
			if strings.Contains(all, want) {
				return all
			}
			if r.Error != "" {
				break
			}
		}
		if again == nil {
			break
		}
	}
	require.NoError(t, errors.New("no event "+want+" in "+all))
	return ""
}
