package bootstrap

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestErrorsNameFileAndLine(t *testing.T) {
	for text, want := range map[string]string{
		"[vm]\ncpus = 4\nmemroy_mb = 1\n": ":3: invalid argument",
		"[vm]\ncpus = \"4\"\n":            `:2: want a whole number, 0 to 255, not "4"`,
		"[vm]\n\ncpus = 4.5\n":            ":3: want a whole number, 0 to 255, not 4.5",
		"[vm]\nboot = 1\n":                ":2: want a string, eager or on_demand, not 1",
		"[vm]\nwatch = 1\n":               ":2: want true or false, not 1",
		"[vm]\nidle_timeout = 300\n":      `:2: want a duration in quotes such as "5m", not 300`,
		"[vm]\ndisk_gb = -1\n":            ":2: want a whole number, 1 to 16384, not -1",
		"[network]\ndns = \"9.9.9.9\"\n":  `:2: want a list of strings, not "9.9.9.9"`,
		"[network]\ndns = [1]\n":          ":2: want a list of strings, not a list",
		"[vm]\n[network]\nmtu = 5\n":      "network.mtu = 5 in ",
		"vm = 4\n":                        ":1: invalid argument",
		"[vm]\ncpus = [\n":                ":",
		"[[vm]]\ncpus = 1\n":              ":1: invalid argument",
		"\n[nonsense]\n":                  ":2: invalid argument",
		"[proxy]\nhttp = [\"hunter2\"]\n": ":2: want a URL",
		"[vm]\nboot = \"lazy\"\n":         "vm.boot = lazy in ",
	} {
		f := writeConfig(t, text)
		_, err := LoadConfig([]string{f}, nil, nil)
		require.ErrorIs(t, err, domain.ErrInvalid, text)
		require.ErrorContains(t, err, f+":", text)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := LoadConfig([]string{writeConfig(t, "vm = 4\n")}, nil, nil)
	require.Equal(t, "vm is a table of keys, see arcbox config list", domain.Hint(err))
	_, err = LoadConfig(nil, []string{"ARCBOX_VM__CPUS=999"}, nil)
	require.ErrorContains(t, err, "vm.cpus = 999 in the environment (ARCBOX_VM__CPUS): want 0 to 255")
}

func TestZeroIsADurationAndAnEmptyTableNoMistake(t *testing.T) {
	c, err := LoadConfig([]string{writeConfig(t, "[vm]\nidle_timeout = 0\nstop_timeout = \"0\"\n[proxy]\n")}, []string{"ARCBOX_LOGGING__LEVEL=DEBUG"}, nil)
	require.NoError(t, err)
	require.Zero(t, c.VM.IdleTimeout)
	require.Zero(t, c.VM.StopTimeout)
	require.Equal(t, 90*time.Second, c.VM.StartupTimeout)
	require.Equal(t, "debug", c.Logging.Level)
}

// The rows describe every field of Config, and nothing else.
func TestEveryKeyIsDescribed(t *testing.T) {
	defaults := DefaultConfig()
	fields := configFields(&defaults)
	for _, k := range configKeys() {
		v, ok := fields[k.key]
		require.True(t, ok, k.key)
		require.NotEmpty(t, k.meaning, k.key)
		require.True(t, k.inBounds(v), "the default of %s is allowed", k.key)
		delete(fields, k.key)
	}
	require.Empty(t, fields)
}

func TestPathsMayBeginWithTheHomeDirectory(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	c, err := LoadConfig([]string{writeConfig(t, "data_dir = \"~/.box\"\n")}, nil, nil)
	require.NoError(t, err)
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, ".box"), c.DataDir)
}
