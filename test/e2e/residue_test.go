package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inRun lists the run directory.
func inRun(t *testing.T, d *daemon) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.data, "run"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// only returns the one file that the pattern below the data directory matches.
func only(t *testing.T, d *daemon, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.data, filepath.FromSlash(pattern)))
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	return found[0]
}

func put(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// TestResidue is the table of docs/operations.md, a subtest for a row. A killed
// daemon leaves what it leaves; what a crash of the host could have done on top
// is put there; then one start has to deal with all of it.
func TestResidue(t *testing.T) {
	d := own(t, "residue")
	at := func(name string) string { return filepath.Join(d.data, filepath.FromSlash(name)) }
	put(t, at("data/docker.img"), "")
	require.NoError(t, d.start("--wait"))
	if !t.Run("an empty disk image", func(t *testing.T) {
		info, err := os.Stat(at("data/docker.img"))
		require.NoError(t, err)
		require.Positive(t, info.Size())
		d.load(t)
		d.must(t, "run", "-d", "--name", "again", "--restart", "always", demo, "sleep", "3600")
		d.must(t, "run", "-d", "--name", "once", demo, "sleep", "3600")
		d.must(t, "run", "--name", "kept", demo, "sh", "-c", "echo precious > /file; sync")
	}) {
		return
	}

	if !t.Run("killed", func(t *testing.T) {
		st, _, err := d.status()
		require.NoError(t, err)
		kill(t, st.PID)
		eventually(t, 5*time.Second, func() error {
			if p := processesOf(t, d); len(p) > 0 {
				return fmt.Errorf("left: %q", p)
			}
			return nil
		})
		require.Subset(t, inRun(t, d), []string{"arcbox.sock", "daemon.lock", "docker.sock"})
		_, err = d.docker(t.Context(), "ps")
		require.Error(t, err, "nobody answers on the socket")
		require.Contains(t, read(t, at("log/daemon.log")), strconv.Itoa(st.PID))
	}) {
		return
	}

	// A process that happens to have got the number of the daemon that is gone.
	other := exec.Command("sleep", "600")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	put(t, at("run/daemon.lock"), strconv.Itoa(other.Process.Pid)+"\n")
	st, code, err := d.status()
	require.NoError(t, err)
	require.Equal(t, 3, code)
	require.False(t, st.Running)
	_, err = d.arcbox(t.Context(), "daemon", "stop")
	require.NoError(t, err, "there is nothing to stop")

	notes := []string{"run/engine-native.json", "run/accelerator.json", "boot/.verified.json", "runtime/.runtime.json"}
	for _, note := range notes {
		put(t, at(note), "{\"half\": ")
	}
	put(t, at("run/daemon-start-123.err"), "arcbox: noise\n")
	put(t, at("runtime/.runtime-image-123"), "half")
	put(t, at("runtime/runtime-000000000000.erofs"), "of another content")
	record := at("machines/default/config.toml")
	put(t, record, strings.Repeat("\x00", 512))
	kernel := only(t, d, "boot/*/kernel")
	content := read(t, kernel)
	require.NoError(t, os.Remove(kernel))
	put(t, at("boot/.download/0000.part"), "of a file that nobody wants any more")
	runc := at("runtime/bin/runc")
	size := len(read(t, runc))
	require.NoError(t, os.Truncate(runc, int64(size/2)))

	require.NoError(t, d.start("--wait"), "one start deals with all of it")

	t.Run("a process id that is somebody else's", func(t *testing.T) {
		require.NoError(t, syscall.Kill(other.Process.Pid, 0), "it was left alone")
		st, code, err := d.status()
		require.NoError(t, err)
		require.Zero(t, code)
		require.Equal(t, strconv.Itoa(st.PID), strings.TrimSpace(read(t, at("run/daemon.lock"))))
	})
	t.Run("messages of a killed start", func(t *testing.T) {
		require.NoFileExists(t, at("run/daemon-start-123.err"))
	})
	t.Run("damaged notes", func(t *testing.T) {
		for _, note := range notes {
			eventually(t, 10*time.Second, func() error { // written beside the start, not before its end
				if strings.Contains(read(t, at(note)), "half") {
					return errors.New(note + " is still damaged")
				}
				return nil
			})
		}
	})
	t.Run("a missing kernel", func(t *testing.T) {
		require.Equal(t, content, read(t, kernel))
	})
	t.Run("a damaged binary", func(t *testing.T) {
		require.Len(t, read(t, runc), size)
	})
	t.Run("half an image", func(t *testing.T) {
		require.NoFileExists(t, at("runtime/.runtime-image-123"))
		require.NoFileExists(t, at("runtime/runtime-000000000000.erofs"))
		only(t, d, "runtime/runtime-*.erofs")
	})
	t.Run("a damaged record", func(t *testing.T) {
		require.Contains(t, read(t, record), "docker.img")
	})
	t.Run("the data disk", func(t *testing.T) {
		require.Equal(t, "precious\n", d.must(t, "cp", "kept:/file", "-")[512:521])
		require.Equal(t, "exited\n", d.must(t, "inspect", "-f", "{{.State.Status}}", "once"))
		eventually(t, time.Minute, func() error {
			if out := d.must(t, "inspect", "-f", "{{.State.Status}}", "again"); out != "running\n" {
				return errors.New(out)
			}
			return nil
		})
	})
	t.Run("a clean exit", func(t *testing.T) {
		_, err := d.arcbox(t.Context(), "daemon", "stop")
		require.NoError(t, err)
		require.Empty(t, processesOf(t, d))
		require.ElementsMatch(t, []string{"accelerator.json", "daemon-spawn.lock", "daemon.lock", "engine-native.json"}, inRun(t, d))
		parts, err := filepath.Glob(at("boot/.download/*.part"))
		require.NoError(t, err)
		require.Len(t, parts, 1, "only what nobody wanted")
		require.FileExists(t, at("log/daemon.log"))
	})
}
