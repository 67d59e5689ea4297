package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// filesEnv is how many small files the test of them makes. An emulated machine
// makes one or two hundred a second, so that 100,000 take half an hour.
const filesEnv = "ARCBOX_TEST_FILES"

func (f *files) manyFiles(t *testing.T) {
	n := 4_000
	if s := os.Getenv(filesEnv); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	dir := f.makeDir(t, "many")
	t.Log(f.must(t, "run", "--rm", bind(dir, "/work"), fsx, "many", "-dir", "/work", "-n", strconv.Itoa(n)))
	found := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found++
			if text := read(t, path); text != entry.Name() {
				t.Fatalf("%s has %q", path, text)
			}
		}
		return err
	}))
	require.Equal(t, n, found)
	t.Log(f.must(t, "run", "--rm", bind(dir, "/work"), fsx, "many", "-dir", "/work", "-n", strconv.Itoa(n), "-remove"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func (f *files) bigFile(t *testing.T) {
	memory, err := strconv.Atoi(filesMiB)
	require.NoError(t, err)
	file := filepath.Join(f.makeDir(t, "big"), "file")
	out := f.must(t, "run", "--rm", bind(filepath.Dir(file), "/work"), fsx, "big", "-file", "/work/file", "-mib", strconv.Itoa(memory+256))
	t.Log(out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, int64(memory+256)<<20, info.Size())
	sum, err := exec.CommandContext(t.Context(), "sha256sum", file).Output()
	require.NoError(t, err)
	require.Contains(t, out, strings.Fields(string(sum))[0], "the host has the same content")
	require.NoError(t, os.Remove(file))
}

func (f *files) torture(t *testing.T) {
	dir := f.makeDir(t, "torture")
	t.Log(f.must(t, "run", "--rm", bind(dir, "/work"), fsx, "-dir", "/work", "-reference", "/dev/shm", "-ops", "400", "-procs", "2"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func (f *files) git(t *testing.T) {
	f.loadDev(t)
	tree := f.makeDir(t, "repository")
	identity := []string{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "-c", "safe.directory=*", "-c", "commit.gpgsign=false"}
	host := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append(identity, args...)...)
		cmd.Dir, cmd.Env = tree, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	container := func(args ...string) string {
		return f.must(t, append(append([]string{"run", "--rm", bind(tree, tree), "-w", tree, devImage, "git"}, identity...), args...)...)
	}
	host("init", "-q")
	for n := range 50 {
		put(t, filepath.Join(tree, "dir"+strconv.Itoa(n%5), "file"+strconv.Itoa(n)), "line "+strconv.Itoa(n)+"\n")
	}
	host("add", ".")
	host("commit", "-q", "-m", "on the host")
	require.Empty(t, container("status", "--porcelain"))
	write(t, filepath.Join(tree, "dir0", "file0"), "changed\n")
	require.Equal(t, " M dir0/file0\n", container("status", "--porcelain"))
	container("commit", "-q", "-a", "-m", "in the container")
	require.Empty(t, host("status", "--porcelain"))
	require.Equal(t, "in the container\non the host\n", host("log", "--format=%s"))
	container("checkout", "-q", "-b", "branch", "HEAD~1")
	require.Equal(t, "line 0\n", read(t, filepath.Join(tree, "dir0", "file0")))
	container("gc", "-q")
	host("fsck", "--strict")
	require.Equal(t, "branch\n", host("rev-parse", "--abbrev-ref", "HEAD"))
}
