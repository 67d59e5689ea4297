package share

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// hostTree is a directory without links on the way to it.
func hostTree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir()) // of macOS is below a link
	require.NoError(t, err)
	return dir
}

func TestInspect(t *testing.T) {
	dir := hostTree(t)
	at := func(p string) string { return filepath.Join(dir, p) }
	require.NoError(t, os.MkdirAll(at("real/deep dir, ü"), 0o700))
	require.NoError(t, os.WriteFile(at("real/file"), nil, 0o600))
	require.NoError(t, syscall.Mkfifo(at("real/pipe"), 0o600))
	l, err := net.Listen("unix", at("s"))
	require.NoError(t, err)
	defer l.Close()
	for link, to := range map[string]string{
		"abs": at("real"), "rel": "real/../real//", "up": "../" + filepath.Base(dir) + "/real", "chain": "rel/deep dir, ü", "sock": "./s", "tofile": "abs/file",
		"dangling": at("gone/x"), "dangling-rel": "gone/../away", "loop": "loop2", "loop2": "loop", "root": "/", "real/back": "..", "dot": ".",
	} {
		require.NoError(t, os.Symlink(to, at(link)))
	}
	for path, want := range map[string]domain.HostPath{
		"":                      {Resolved: dir, Kind: domain.HostPathDirectory},
		"real":                  {Resolved: at("real"), Kind: domain.HostPathDirectory},
		"real/file":             {Resolved: at("real/file"), Kind: domain.HostPathFile},
		"real/pipe":             {Resolved: at("real/pipe"), Kind: domain.HostPathOther},
		"real/missing/deep":     {Resolved: at("real/missing/deep"), Kind: domain.HostPathMissing},
		"abs":                   {Resolved: at("real"), Kind: domain.HostPathDirectory},
		"abs/missing":           {Resolved: at("real/missing"), Kind: domain.HostPathMissing},
		"up/file":               {Resolved: at("real/file"), Kind: domain.HostPathFile},
		"rel/back/rel/file":     {Resolved: at("real/file"), Kind: domain.HostPathFile},
		"chain":                 {Resolved: at("real/deep dir, ü"), Kind: domain.HostPathDirectory},
		"dot/dot/tofile":        {Resolved: at("real/file"), Kind: domain.HostPathFile},
		"s":                     {Resolved: at("s"), Kind: domain.HostPathSocket},
		"sock":                  {Resolved: at("s"), Kind: domain.HostPathSocket},
		"dangling":              {Resolved: at("gone/x"), Kind: domain.HostPathMissing},
		"dangling/y":            {Resolved: at("gone/x/y"), Kind: domain.HostPathMissing},
		"dangling-rel":          {Resolved: at("away"), Kind: domain.HostPathMissing},
		"root":                  {Resolved: "/", Kind: domain.HostPathDirectory},
		"root/../real":          {Resolved: at("real"), Kind: domain.HostPathDirectory}, // cleaned first, as dockerd does
		"real/file/../file/../": {Resolved: at("real"), Kind: domain.HostPathDirectory},
	} {
		got, err := NewHostPaths().Inspect(dir + "/" + path)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	for path, says := range map[string]string{
		at("loop/x"):                 "more than 40 symbolic links",
		at("real/file/x"):            "is no directory",
		at("tofile/x"):               "is no directory",
		at(strings.Repeat("n", 300)): "file name too long",
		"relative":                   "not an absolute path",
		"":                           "not an absolute path",
		dir + "/a\x00b":              "not an absolute path",
	} {
		_, err := NewHostPaths().Inspect(path)
		require.ErrorIs(t, err, domain.ErrInvalid, path)
		require.ErrorContains(t, err, says)
	}
}

// What the kernel opens is what is said to be there.
func TestInspectAgreesWithTheKernel(t *testing.T) {
	dir := hostTree(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o700))
	for link, to := range map[string]string{"a/l": "../m", "m": "a/b", "a/b/x": "../../a", "n": dir + "/a/b/x/l"} {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, link)))
	}
	names := []string{"a", "b", "l", "m", "n", "x"}
	var walk func(p string, depth int)
	walk = func(p string, depth int) {
		st, statErr := os.Stat(p)
		got, err := NewHostPaths().Inspect(p)
		require.NoError(t, err, p)
		require.Equal(t, statErr == nil, got.Kind != domain.HostPathMissing, p)
		if statErr == nil {
			real, err := os.Lstat(got.Resolved)
			require.NoError(t, err)
			require.True(t, os.SameFile(st, real), "%s is not %s", p, got.Resolved)
			want, err := filepath.EvalSymlinks(p)
			require.NoError(t, err)
			require.Equal(t, want, got.Resolved)
		}
		for _, n := range names {
			if depth > 0 {
				walk(p+"/"+n, depth-1)
			}
		}
	}
	walk(dir, 4)
}

func TestInspectMayNotLook(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may look everywhere")
	}
	dir := hostTree(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "locked"), 0o000))
	_, err := NewHostPaths().Inspect(filepath.Join(dir, "locked/x"))
	require.ErrorIs(t, err, domain.ErrPermission)
}
