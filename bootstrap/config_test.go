package bootstrap

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(f, []byte(text), 0o600))
	return f
}

func TestLaterSourcesOverrideEarlierOnes(t *testing.T) {
	system := writeConfig(t, "[vm]\ncpus = 3\nmemory_mb = 1024\nidle_timeout = \"7m\"\n")
	user := writeConfig(t, "[vm]\ncpus = 5\ndisk_gb = 10\n[network]\ndns = [\"9.9.9.9\"]\n")
	c, err := LoadConfig([]string{system, filepath.Join(t.TempDir(), "absent.toml"), user},
		[]string{"ARCBOX_VM__MEMORY_MB=2048", "ARCBOX_VM__DISK_GB=11", "PATH=/bin", "ARCBOX_CACHE=/x", "ARCBOX_DATA_DIR=/data"},
		map[string]any{"vm.disk_gb": 12, "vm.boot": "on_demand"})
	require.NoError(t, err)
	require.Equal(t, 5, c.VM.CPUs, "user file over system file")
	require.Equal(t, uint64(2048), c.VM.MemoryMB, "environment over files")
	require.Equal(t, uint64(12), c.VM.DiskGB, "flags over environment")
	require.Equal(t, 7*time.Minute, c.VM.IdleTimeout)
	require.Equal(t, []string{"9.9.9.9"}, c.Network.DNS)
	require.Equal(t, BootOnDemand, c.VM.Boot)
	require.Equal(t, "/data", c.DataDir)
	require.Equal(t, "/data/run/docker.sock", c.Docker.SocketPath)
}

func TestDefaultsFitTheHost(t *testing.T) {
	c, err := LoadConfig(nil, nil, nil)
	require.NoError(t, err)
	require.Positive(t, c.VM.CPUs)
	require.GreaterOrEqual(t, c.VM.MemoryMB, uint64(512))
	require.LessOrEqual(t, c.VM.MemoryMB, uint64(16384))
	require.Equal(t, BootEager, c.VM.Boot)
}

func TestUnknownKeysAreErrorsWithASuggestion(t *testing.T) {
	f := writeConfig(t, "[vm]\nmemory = 1\nmemroy_mb = 3\n")
	_, err := LoadConfig([]string{f}, nil, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Contains(t, err.Error(), f)

	f = writeConfig(t, "[vm]\nmemroy_mb = 3\n")
	_, err = LoadConfig([]string{f}, nil, nil)
	require.ErrorContains(t, err, `"vm.memroy_mb"`)
	require.Equal(t, `did you mean "vm.memory_mb"?`, domain.Hint(err))

	_, err = LoadConfig(nil, []string{"ARCBOX_VM__CPU=2"}, nil)
	require.ErrorContains(t, err, `"vm.cpu" in the environment`)
	require.Equal(t, `did you mean "vm.cpus"?`, domain.Hint(err))

	_, err = LoadConfig(nil, nil, map[string]any{"nonsense": 1})
	require.ErrorContains(t, err, `"nonsense" in the flags`)
}

func TestValuesAreChecked(t *testing.T) {
	for key, value := range map[string]any{
		"vm.cpus": -1, "vm.memory_mb": 100, "vm.disk_gb": 0, "vm.boot": "lazy", "vm.accelerator": "fast",
		"vm.tcg_time_factor": 0, "vm.startup_timeout": "0s", "vm.idle_timeout": "-1s", "network.mtu": 100,
		"network.subnet": "10.0.2.1/24", "network.dns": "example.org", "logging.level": "loud",
		"container.startup_timeout_ms": 0, "container.guest_docker_vsock_port": 1024,
	} {
		_, err := LoadConfig(nil, nil, map[string]any{key: value})
		require.ErrorIs(t, err, domain.ErrInvalid, "%s = %v", key, value)
		require.ErrorContains(t, err, key)
	}
	_, err := LoadConfig([]string{writeConfig(t, "vm = {")}, nil, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = LoadConfig(nil, nil, map[string]any{"vm.cpus": "many"})
	require.ErrorIs(t, err, domain.ErrInvalid)
}
