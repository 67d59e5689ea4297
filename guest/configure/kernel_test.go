//go:build linux

package configure

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mountChild is a process with mounts of its own.
const mountChild = "ARCBOX_TEST_MOUNTS"

func TestKernelBindsAsAsked(t *testing.T) {
	if dir := os.Getenv(mountChild); dir != "" {
		bindInChild(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs mounts")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKernelBindsAsAsked$", "-test.v")
	cmd.Env = append(os.Environ(), mountChild+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func bindInChild(t *testing.T, dir string) {
	must := func(err error) { t.Helper(); require.NoError(t, err) }
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	tag, free, fixed := filepath.Join(dir, "tag"), filepath.Join(dir, "free"), filepath.Join(dir, "fi xed")
	for _, d := range []string{tag, free, fixed} {
		must(os.Mkdir(d, 0o755))
	}
	must(unix.Mount("tmpfs", tag, "tmpfs", shareFlags, "")) // in place of the host's
	must(private(tag))
	must(os.MkdirAll(tag+"/0/sub", 0o755))
	k := Kernel{}
	must(k.Bind(tag+"/0", free, false))
	must(k.Bind(tag+"/0", fixed, true))
	must(os.WriteFile(free+"/file", nil, 0o644))
	require.ErrorIs(t, os.WriteFile(fixed+"/file2", nil, 0o644), unix.EROFS)
	require.ErrorIs(t, os.Chtimes(fixed+"/file", time.Now(), time.Now()), unix.EROFS)

	must(unix.Mount("tmpfs", free+"/sub", "tmpfs", 0, ""))
	text, err := os.ReadFile("/proc/self/mountinfo")
	must(err)
	groups := map[string]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if rest, ok := strings.CutPrefix(f[4], dir); ok {
			groups[rest] = f[6]
			if rest != "/free/sub" {
				require.Contains(t, f[5], "nosuid,nodev", line)
			}
		}
	}
	require.Len(t, groups, 4, "what is mounted in a share is nowhere else: %v", groups)
	require.Equal(t, "-", groups["/tag"])
	require.NotEqual(t, groups["/free"], groups["/fi\\040xed"])

	busy, err := os.Open(free + "/file")
	must(err)
	defer func() { _ = busy.Close() }()
	must(k.Unmount(free))
	entries, err := os.ReadDir(free)
	must(err)
	require.Empty(t, entries)
	require.ErrorIs(t, k.Unmount(free), unix.EINVAL)
}
