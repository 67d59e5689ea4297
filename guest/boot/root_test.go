//go:build linux

package boot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTopsTakeTheOthersAlong(t *testing.T) {
	require.Equal(t, []string{"/dev", "/run", "/running"}, tops([]Mount{
		{Target: "/"}, {Target: "/dev"}, {Target: "/dev/pts"}, {Target: "/run"}, {Target: "/run/a b"}, {Target: "/running"}, {Target: "/dev"},
	}))
}

// rootChild is a process that has a read-only root of its own.
const rootChild = "ARCBOX_TEST_ROOT"

func TestTheRootBecomesWritable(t *testing.T) {
	if dir := os.Getenv(rootChild); dir != "" {
		inReadOnlyRoot(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs mounts")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestTheRootBecomesWritable$", "-test.v")
	cmd.Env = append(os.Environ(), rootChild+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "no mounts here") {
		t.Skip(string(out))
	}
	require.NoError(t, err, string(out))
}

// inReadOnlyRoot makes a small root that cannot be written, enters it, and does
// as the agent does.
func inReadOnlyRoot(t *testing.T, dir string) {
	must := func(err error) {
		t.Helper()
		require.NoError(t, err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip("no mounts here: ", err)
	}
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	for _, d := range []string{"mnt", "proc", "run", "etc", "home", "old"} {
		must(os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	must(os.WriteFile(filepath.Join(dir, "etc/kept"), []byte("image"), 0o644))
	must(unix.Mount("tmpfs", dir+"/run", "tmpfs", 0, ""))
	must(os.WriteFile(dir+"/run/too", nil, 0o644))
	must(os.Mkdir(dir+"/run/inner", 0o755))
	must(unix.Mount("tmpfs", dir+"/run/inner", "tmpfs", 0, ""))
	must(os.WriteFile(dir+"/run/inner/deep", nil, 0o644))
	must(unix.Mount("/proc", dir+"/proc", "", unix.MS_BIND, ""))
	must(unix.PivotRoot(dir, dir+"/old"))
	must(unix.Chdir("/"))
	must(unix.Unmount("/old", unix.MNT_DETACH))
	must(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	require.ErrorIs(t, os.Mkdir("/home/alice", 0o755), unix.EROFS)

	for range 2 { // the second time there is nothing to do
		must(WritableRoot())
	}
	must(ShareMounts())
	must(os.MkdirAll("/a new/place", 0o755))
	must(os.MkdirAll("/home/alice", 0o755))
	must(os.WriteFile("/etc/kept", []byte("changed"), 0o644))
	require.FileExists(t, "/run/too")
	require.FileExists(t, "/run/inner/deep")
	entries, err := os.ReadDir("/mnt")
	must(err)
	require.Empty(t, entries, "what the root is made of is not to be seen")

	must(os.MkdirAll("/run/arcbox/data", 0o755))
	must(unix.Mount("tmpfs", "/run/arcbox/data", "tmpfs", 0, ""))
	must(unix.Mount("tmpfs", "/home/alice", "tmpfs", 0, ""))
	must(os.Mkdir("/run/arcbox/data/x", 0o755))
	must(unix.Mount("/run/arcbox/data/x", "/a new/place", "", unix.MS_BIND, ""))
	text, err := os.ReadFile(mountInfo)
	must(err)
	shared := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		shared[unescape(f[4])] = slices.ContainsFunc(f[6:], func(s string) bool { return strings.HasPrefix(s, "shared:") })
	}
	for place, want := range map[string]bool{"/": true, "/home/alice": true, "/a new/place": true, "/run/arcbox/data": false} {
		have, there := shared[place]
		require.True(t, there, "%s in %v", place, shared)
		require.Equal(t, want, have, fmt.Sprint(place))
	}
}
