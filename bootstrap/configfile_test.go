package bootstrap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/cli"
	"arcbox/domain"
)

func newConfigCommand(t *testing.T, text string, environ ...string) *configCommand {
	t.Helper()
	dir := t.TempDir()
	c := &configCommand{files: []string{filepath.Join(dir, "etc", "config.toml"), filepath.Join(dir, "user", "config.toml")}, environ: environ}
	if text != "" {
		require.NoError(t, os.MkdirAll(filepath.Dir(c.files[1]), 0o700))
		require.NoError(t, os.WriteFile(c.files[1], []byte(text), 0o640)) //nolint:gosec // the mode is kept
	}
	return c
}

func (c *configCommand) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(c.files[1])
	require.NoError(t, err)
	return string(text)
}

func TestSettingKeepsCommentsAndModes(t *testing.T) {
	c := newConfigCommand(t, "# mine\n[vm]\ncpus = 2 # two\n\n[network]\nmtu = 1500\n")
	done, err := c.Set("vm.cpus", []string{"3"}, false)
	require.NoError(t, err)
	require.Equal(t, cli.ConfigChange{File: c.files[1], Changed: []string{"vm.cpus"}, Restart: true}, done)
	for key, values := range map[string][]string{"vm.idle_timeout": {"30m"}, "vm.mounts": {"/a,b", "/c:ro"}, "network.dns": {"1.1.1.1, 9.9.9.9"},
		"vm.watch": {"false"}, "vm.boot": {"ON_DEMAND"}} {
		_, err := c.Set(key, values, false)
		require.NoError(t, err, key)
	}
	require.Contains(t, c.text(t), "# mine\n[vm]\ncpus = 3 # two\n")
	l, err := c.sources().load()
	require.NoError(t, err)
	require.Equal(t, []string{"/a,b", "/c:ro"}, l.VM.Mounts)
	require.Equal(t, []string{"1.1.1.1", "9.9.9.9"}, l.Network.DNS)
	require.False(t, l.VM.Watch)
	require.Equal(t, BootOnDemand, l.VM.Boot)
	require.Contains(t, c.text(t), `idle_timeout = "30m"`)
	st, err := os.Stat(c.files[1])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), st.Mode())

	done, err = c.Set("vm.cpus", []string{"3"}, false)
	require.NoError(t, err)
	require.Empty(t, done.Changed)
	done, err = c.Unset("vm.cpus", false)
	require.NoError(t, err)
	require.Equal(t, []string{"vm.cpus"}, done.Changed)
	require.NotContains(t, c.text(t), "cpus")
}

func TestANewFileIsPrivateAndALinkStays(t *testing.T) {
	c := newConfigCommand(t, "")
	_, err := c.Set("proxy.http", []string{"http://ann:hunter2@proxy:1"}, false)
	require.NoError(t, err)
	st, err := os.Stat(c.files[1])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())
	dir, err := os.Stat(filepath.Dir(c.files[1]))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())

	target := filepath.Join(t.TempDir(), "dotfiles.toml")
	require.NoError(t, os.Rename(c.files[1], target))
	require.NoError(t, os.Symlink(target, c.files[1]))
	_, err = c.Set("vm.cpus", []string{"3"}, false)
	require.NoError(t, err)
	link, err := os.Readlink(c.files[1])
	require.NoError(t, err)
	require.Equal(t, target, link)
	require.Contains(t, c.text(t), "cpus = 3")
	_, err = c.Set("vm.cpus", []string{"4"}, true)
	require.NoError(t, err)
	system, err := os.ReadFile(c.files[0])
	require.NoError(t, err)
	require.Equal(t, "[vm]\ncpus = 4\n", string(system))
}

func TestWhatIsNotAllowedChangesNothing(t *testing.T) {
	const text = "# mine\n[vm]\ncpus = 2\n"
	c := newConfigCommand(t, text)
	for _, bad := range []struct {
		key, want string
		values    []string
	}{
		{"vm.cpus", "vm.cpus = 999 in " + c.files[1] + ":3: want 0 to 255", []string{"999"}},
		{"vm.cpus", `vm.cpus: want 0 to 255, not "many"`, []string{"many"}},
		{"vm.boot", `vm.boot = lazy in ` + c.files[1] + `:4: want eager or on_demand`, []string{"lazy"}},
		{"vm.idle_timeout", "want a duration such as 5m, or 0 for never", []string{"300"}},
		{"vm.disk_gb", "want one value", []string{"1", "2"}},
		{"network.dns", "want IP addresses", []string{"example.org"}},
		{"vm.memory_mb", "want 0, or 512 to 1048576", []string{"100"}},
		{"vm.watch", "want true or false", []string{"maybe"}},
	} {
		_, err := c.Set(bad.key, bad.values, false)
		require.ErrorIs(t, err, domain.ErrInvalid, bad.key)
		require.ErrorContains(t, err, bad.want)
	}
	_, err := c.Set("proxy.http", []string{"http://ann:hunt er2@proxy"}, false)
	require.ErrorContains(t, err, "proxy.http")
	require.NotContains(t, err.Error(), "er2")
	_, err = c.Set("vm.cpu", []string{"1"}, false)
	require.Equal(t, `did you mean "vm.cpus"?`, domain.Hint(err))
	require.Equal(t, text, c.text(t))

	c = newConfigCommand(t, "vm = { cpus = 2 }\n")
	_, err = c.Set("vm.cpus", []string{"3"}, false)
	require.ErrorContains(t, err, "vm on line 1 is an inline table")
	require.Equal(t, "arcbox config edit", domain.Hint(err))
}

func TestMisspeltKeysCanBeRemoved(t *testing.T) {
	c := newConfigCommand(t, "[vm]\ncpsu = 2\ncpus = 3\n")
	_, err := c.Set("vm.cpus", []string{"4"}, false)
	require.ErrorContains(t, err, c.files[1]+":2")
	_, err = c.Unset("vm.cpsu", false)
	require.NoError(t, err)
	require.Equal(t, "[vm]\ncpus = 3\n", c.text(t))
	_, err = c.Unset("vm.cpsu", false)
	require.ErrorContains(t, err, "unknown configuration key")
}

func TestWhatWinsOverTheFileIsSaid(t *testing.T) {
	c := newConfigCommand(t, "", "ARCBOX_VM__CPUS=5", "EDITOR=nano", "VISUAL=code -w")
	done, err := c.Set("vm.cpus", []string{"3"}, false)
	require.NoError(t, err)
	require.Equal(t, "vm.cpus is also set in the environment (ARCBOX_VM__CPUS), which wins", done.Overridden)
	require.Equal(t, "code -w", c.Editor())
	values, err := c.Values()
	require.NoError(t, err)
	for _, v := range values {
		switch v.Key {
		case "vm.cpus":
			require.Equal(t, int64(5), v.Value)
			require.Equal(t, fromEnvironment, v.Source)
		case "vm.boot":
			require.Equal(t, fromDefault, v.Source)
		}
	}
}

func TestADraftDoesNotReplaceWhatOthersWrote(t *testing.T) {
	c := newConfigCommand(t, "[vm]\ncpus = 1\n")
	d, err := c.Draft(false)
	require.NoError(t, err)
	_, err = c.Set("vm.cpus", []string{"2"}, false)
	require.NoError(t, err)
	d.Text = []byte("[vm]\ncpus = 3\n")
	_, err = c.Apply(d)
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.Equal(t, "[vm]\ncpus = 2\n", c.text(t))
	d.Text = []byte("[vm]\ncpus = \"x\"\n")
	require.ErrorContains(t, c.Check(d, "copy.toml"), "copy.toml:2: want a whole number, 0 to 255, not \"x\"")
}

func TestPasswordsAreNotListed(t *testing.T) {
	c := newConfigCommand(t, "[proxy]\nhttp = \"http://ann:hunter2@proxy:1\"\n")
	values, err := c.Values()
	require.NoError(t, err)
	for _, v := range values {
		require.NotContains(t, v.Shown, "hunter2")
		if v.Key == "proxy.http" {
			require.True(t, v.Redacted)
			require.Contains(t, v.Value, "hunter2")
			require.Contains(t, v.Shown, "proxy:1")
		}
	}
}
