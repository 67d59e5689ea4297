package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// own is a daemon that a test has for itself.
func own(t *testing.T, name string) *daemon {
	t.Helper()
	d, err := newDaemon(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			d.show(os.Stderr)
		}
		d.remove()
		require.Empty(t, processesOf(t, d), "nothing of it runs on")
	})
	return d
}

// ended waits until a daemon whose start failed is gone.
func ended(t *testing.T, d *daemon) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		if _, code, err := d.status(); err != nil || code != 3 {
			return fmt.Errorf("status exits %d, %w", code, err)
		}
		return nil
	})
}

// processesOf lists the processes that name the daemon's data directory.
func processesOf(t *testing.T, d *daemon) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, f := range dirs {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), d.data) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func TestAnUnknownConfigurationKeyIsRefused(t *testing.T) {
	d := own(t, "key")
	d.extra = []string{"ARCBOX_VM__MEMROY_MB=1"}
	_, err := d.arcbox(t.Context(), "daemon", "start")
	require.ErrorContains(t, err, `unknown configuration key "vm.memroy_mb" in the environment`)
	require.ErrorContains(t, err, `did you mean "vm.memory_mb"?`)
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "arcbox"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "arcbox", "config.toml"), []byte("[vm]\nfast = true\n"), 0o600))
	d.extra = []string{"XDG_CONFIG_HOME=" + home}
	_, err = d.arcbox(t.Context(), "daemon", "start")
	require.ErrorContains(t, err, filepath.Join(home, "arcbox", "config.toml"))
	d.extra = nil
	require.NoDirExists(t, d.data, "nothing was made")
}

func TestADataDirectoryThatIsTooLongForASocketIsRefused(t *testing.T) {
	d := own(t, "long")
	long := filepath.Join(d.data, strings.Repeat("x", 100))
	_, err := d.arcbox(t.Context(), "--data-dir", long, "daemon", "start")
	require.ErrorContains(t, err, "that a Unix socket can have")
	require.ErrorContains(t, err, "--data-dir")
	require.NoDirExists(t, d.data)
}

func TestADataDiskWithAnotherFileSystemIsLeftAlone(t *testing.T) {
	d := own(t, "disk")
	image := filepath.Join(d.data, "data", "docker.img")
	require.NoError(t, os.MkdirAll(filepath.Dir(image), 0o700))
	f, err := os.Create(image)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("XFSB precious"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(64<<30)) // as large as it is wanted: it need not grow
	require.NoError(t, f.Close())
	sum := headSum(t, image)

	err = d.start("--wait")
	require.ErrorContains(t, err, "XFS file system")
	_, err = d.docker(t.Context(), "ps")
	require.ErrorContains(t, err, "XFS file system", "the Docker client is told too")
	out, err := d.arcbox(t.Context(), "status")
	require.NoError(t, err)
	require.Contains(t, out, "left as it is")
	_, err = d.arcbox(t.Context(), "daemon", "stop")
	require.NoError(t, err)
	require.Equal(t, sum, headSum(t, image), "not a byte was written")
}

// headSum is of what a formatting would change first; the rest is a hole.
func headSum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 64<<20)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

// assetsCopy is a copy of the asset set, made of links where nothing is changed.
func assetsCopy(t *testing.T, d *daemon) string {
	t.Helper()
	from, to := filepath.Join(filepath.Dir(d.bin), "build", "assets"), filepath.Join(filepath.Dir(d.data), "assets")
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

func TestAManifestThatIsNotThePinnedOneIsRefused(t *testing.T) {
	d := own(t, "pin")
	set := assetsCopy(t, d)
	manifest := filepath.Join(set, "manifest.json")
	data, err := os.ReadFile(manifest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(manifest, append(data, ' '), 0o600))
	d.extra = []string{"ARCBOX_ASSETS__SOURCE=file://" + set}
	err = d.start("--wait")
	require.ErrorContains(t, err, "checksum mismatch")
	ended(t, d)
	_, err = d.arcbox(t.Context(), "boot", "prefetch")
	require.ErrorContains(t, err, "checksum mismatch")
}

func TestAnAssetWithOtherContentIsNeverInstalled(t *testing.T) {
	d := own(t, "content")
	set := assetsCopy(t, d)
	runc, err := filepath.Glob(filepath.Join(set, "bin", "runc", "*", "*", "runc"))
	require.NoError(t, err)
	require.Len(t, runc, 1)
	f, err := os.OpenFile(runc[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("evil"), 4096)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	d.extra = []string{"ARCBOX_ASSETS__SOURCE=file://" + set}
	_, err = d.arcbox(t.Context(), "boot", "prefetch")
	require.ErrorContains(t, err, "runc")
	require.ErrorContains(t, err, "checksum mismatch")
	require.NoFileExists(t, filepath.Join(d.data, "runtime", "bin", "runc"))
}

func TestAMissingRuntimeBinaryNamesFileAndCommand(t *testing.T) {
	d := own(t, "binary")
	_, err := d.arcbox(t.Context(), "boot", "prefetch")
	require.NoError(t, err)
	dockerd := filepath.Join(d.data, "runtime", "bin", "dockerd")
	require.NoError(t, os.Chmod(dockerd, 0o644))
	out, err := d.arcbox(t.Context(), "boot", "prefetch", "--format", "json")
	require.NoError(t, err, "with its source it is mended")
	require.True(t, json.Valid([]byte(strings.Split(out, "\n")[0])))
	info, err := os.Stat(dockerd)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o111, "and can be executed again")

	require.NoError(t, os.Remove(dockerd))
	d.extra = []string{"ARCBOX_ASSETS__SOURCE=file:///nonexistent"}
	err = d.start("--wait")
	require.ErrorContains(t, err, dockerd, "the file")
	require.ErrorContains(t, err, "arcbox boot prefetch", "and what mends it")
	ended(t, d)
	d.extra = nil
	require.NoError(t, d.start("--boot", "on_demand"), "with its source it starts")
}

func TestAMissingQEMUSaysHowToGetIt(t *testing.T) {
	d := own(t, "qemu")
	d.extra = []string{"PATH=/nonexistent"}
	err := d.start("--wait")
	require.ErrorContains(t, err, "qemu-system-x86")
	_, err = d.docker(t.Context(), "ps")
	require.ErrorContains(t, err, "qemu-system-x86", "the Docker client is told too")
	st, code, err := d.status()
	require.NoError(t, err)
	require.Zero(t, code, "the daemon stays, so that one can look")
	require.Equal(t, "DEGRADED", st.Phase)
}
