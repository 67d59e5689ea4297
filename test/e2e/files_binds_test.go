package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func (f *files) singleFile(t *testing.T) {
	dir := f.makeDir(t, "single")
	file := filepath.Join(dir, "settings")
	write(t, file, "one")
	i := f.inside(t, bind(file, "/etc/settings"))
	require.Equal(t, "one", i.ask("read", "/etc/settings", ""))
	write(t, file, "two, in place")
	require.Equal(t, "two, in place", i.ask("read", "/etc/settings", ""))
	i.ask("write", "/etc/settings", "three, from inside")
	require.Equal(t, "three, from inside", read(t, file))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func (f *files) links(t *testing.T) {
	dir := f.makeDir(t, "links")
	real, outside := filepath.Join(dir, "real"), filepath.Join(f.dir, "elsewhere")
	require.NoError(t, os.Mkdir(real, dirMode))
	require.NoError(t, os.Mkdir(outside, dirMode))
	write(t, filepath.Join(real, "file"), "real")
	write(t, filepath.Join(outside, "secret"), "secret")
	for name, to := range map[string]string{"relative": "real/file", "absolute": filepath.Join(real, "file"), "tree": "real",
		"leaving": outside, "up": "../../elsewhere", "file-leaving": filepath.Join(outside, "secret")} {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	i := f.inside(t, bind(dir, dir))
	require.Equal(t, "real", i.ask("read", filepath.Join(dir, "relative"), ""))
	require.Equal(t, "real", i.ask("read", filepath.Join(dir, "absolute"), ""), "the path is the same in the container")
	for _, name := range []string{"leaving/secret", "up/secret", "file-leaving"} {
		require.Contains(t, i.try(question{Do: "read", Path: filepath.Join(dir, name)}).Error, "no such file", name)
	}
	j := f.inside(t, bind(filepath.Join(dir, "tree"), "/work"))
	require.Equal(t, "real", j.ask("read", "/work/file", ""), "a source that is a link")
	for _, name := range []string{"leaving", "up", "file-leaving"} {
		_, err := f.docker(t.Context(), "run", "--rm", bind(filepath.Join(dir, name), "/work"), demo, "ls", "/work")
		require.ErrorContains(t, err, "vm.mounts", name)
	}
}

func (f *files) oddPaths(t *testing.T) {
	for n, name := range []string{"sp ace", "größe-日本語", `qu'o"te$x`, "trailing ", "%25&#;", "e\u0301"} {
		for _, share := range []string{f.home, f.odd} {
			dir := filepath.Join(share, name)
			require.NoError(t, os.Mkdir(dir, dirMode))
			write(t, filepath.Join(dir, name), name)
			if n < 3 && share == f.odd {
				out, err := f.docker(t.Context(), "run", "--rm", bind(dir, dir), demo, "cat", filepath.Join(dir, name))
				require.NoError(t, err, name)
				require.Equal(t, name, out)
			}
		}
	}
	i := f.inside(t, bind(f.home, "/work"))
	require.Equal(t, "größe-日本語", i.ask("read", "/work/größe-日本語/größe-日本語", ""))
	i.ask("write", "/work/sp ace/neu ü", "x")
	require.Equal(t, "x", read(t, filepath.Join(f.home, "sp ace", "neu ü")))
	out, err := f.docker(t.Context(), "run", "--rm", "--mount", "type=bind,source="+f.odd+",target=/w o", demo, "ls", "/w o")
	require.NoError(t, err)
	require.Contains(t, out, "sp ace")
}

func (f *files) readOnly(t *testing.T) {
	dir := f.makeDir(t, "readonly")
	write(t, filepath.Join(dir, "file"), "kept")
	write(t, filepath.Join(f.fixed, "file"), "kept")
	for source, option := range map[string]string{dir: "ro", f.fixed: "rw"} {
		i := f.inside(t, bind(source, "/work", option))
		require.Equal(t, "kept", i.ask("read", "/work/file", ""))
		for _, q := range []question{
			{Do: "write", Path: "/work/file", Data: "changed"}, {Do: "write", Path: "/work/new"}, {Do: "mkdir", Path: "/work/new"},
			{Do: "remove", Path: "/work/file"}, {Do: "rename", Path: "/work/file", Data: "/work/moved"},
		} {
			require.Contains(t, i.try(q).Error, "read-only file system", q.Do+" "+source)
		}
		require.Equal(t, "kept", read(t, filepath.Join(source, "file")))
		entries, err := os.ReadDir(source)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		write(t, filepath.Join(source, "file"), "by the host")
		require.Equal(t, "by the host", i.ask("read", "/work/file", ""))
		write(t, filepath.Join(source, "file"), "kept")
	}
	// Root of the guest cannot make it writable: the host does not let it.
	_, err := f.docker(t.Context(), "run", "--rm", "--privileged", bind(f.fixed, "/work"), demo, "sh", "-c", "mount -o remount,rw /work; echo x > /work/new")
	require.Error(t, err)
	require.NoFileExists(t, filepath.Join(f.fixed, "new"))
}

func (f *files) propagation(t *testing.T) {
	dir := f.makeDir(t, "propagation")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), dirMode))
	for _, option := range []string{"private", "slave", "shared"} {
		out, err := f.docker(t.Context(), "run", "--rm", bind(dir, "/work", option), demo, "ls", "/work")
		require.NoError(t, err, option)
		require.Equal(t, "sub\n", out, option)
	}
	listener := f.inside(t, bind(dir, "/work", "rslave"))
	deaf := f.inside(t, bind(dir, "/work", "rprivate"))
	require.NotEmpty(t, listener.try(question{Do: "read", Path: "/work/sub/file"}).Error) // it runs by now
	require.NotEmpty(t, deaf.try(question{Do: "read", Path: "/work/sub/file"}).Error)
	f.must(t, "run", "--rm", "--privileged", bind(dir, "/work", "rshared"), demo, "sh", "-c", "mount -t tmpfs none /work/sub && echo mounted > /work/sub/file")
	require.Equal(t, "mounted\n", listener.ask("read", "/work/sub/file", ""))
	require.NotEmpty(t, deaf.try(question{Do: "read", Path: "/work/sub/file"}).Error)
	require.NoFileExists(t, filepath.Join(dir, "sub", "file"), "a mount in the guest is none of the host's")
	f.must(t, "run", "--rm", "--privileged", bind(dir, "/work", "rshared"), demo, "umount", "/work/sub")
}

// missing sources are made by -v and refused by --mount, as the engine does.
func (f *files) missing(t *testing.T) {
	dir := filepath.Join(f.home, "made", "by", "docker")
	_, err := f.docker(t.Context(), "run", "--rm", "--mount", "type=bind,source="+dir+",target=/work", demo, "true")
	require.ErrorContains(t, err, "does not exist")
	require.NoDirExists(t, filepath.Join(f.home, "made"))
	f.must(t, "run", "--rm", bind(dir, "/work"), demo, "sh", "-c", "echo x > /work/file")
	require.Equal(t, "x\n", read(t, filepath.Join(dir, "file")))
}

func (f *files) outside(t *testing.T) {
	there, absent := filepath.Join(f.dir, "outside"), filepath.Join(f.dir, "absent")
	require.NoError(t, os.Mkdir(there, dirMode))
	write(t, filepath.Join(there, "secret"), "secret")
	for _, source := range []string{there, absent, filepath.Join(there, "secret"), f.home + "-beside", filepath.Join(f.home, "..", "outside"), "/etc"} {
		for _, args := range [][]string{{bind(source, "/work")}, {"--mount", "type=bind,source=" + source + ",target=/work"}} {
			out, err := f.docker(t.Context(), append(append([]string{"run", "--rm"}, args...), demo, "ls", "/work")...)
			require.Error(t, err, "%s: %s", args, out)
			require.ErrorContains(t, err, "vm.mounts")
			require.ErrorContains(t, err, filepath.Clean(source), "it says which")
		}
	}
	require.NoDirExists(t, absent)
	require.NoDirExists(t, f.home+"-beside")
	out := f.must(t, "run", "--rm", "--privileged", "--pid", "host", demo, "sh", "-c", "ls "+"/proc/1/root"+f.dir)
	require.NotContains(t, strings.Fields(out), "absent", "nor is there one in the guest")
	require.NotContains(t, strings.Fields(out), "outside")
	require.Empty(t, f.must(t, "ps", "-a", "-q", "--filter", "status=created"), "no container is left of it")
}

func (f *files) dataDirectory(t *testing.T) {
	link := filepath.Join(f.home, "data")
	require.NoError(t, os.Symlink(f.data, link))
	t.Cleanup(func() { _ = os.Remove(link) })
	for _, source := range []string{f.data, link} {
		_, err := f.docker(t.Context(), "run", "--rm", bind(source, "/work"), demo, "ls", "/work")
		require.Error(t, err, source)
	}
}
