package bootstrap

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestMountsOfTheConfiguration(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	c, err := LoadConfig(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"~"}, c.VM.Mounts)
	shares, err := c.shares()
	require.NoError(t, err)
	require.Equal(t, []domain.Share{{Path: home}}, shares)
	require.False(t, c.Container.CACertificates)
	require.False(t, c.Container.Proxies)

	c, err = LoadConfig([]string{writeConfig(t, "[vm]\nmounts = [\"~/a, b:ro\", \"/srv\"]\n[container]\nca_certificates = true\n")}, nil, nil)
	require.NoError(t, err)
	shares, err = c.shares()
	require.NoError(t, err)
	require.ElementsMatch(t, []domain.Share{{Path: "/srv"}, {Path: filepath.Join(home, "a, b"), ReadOnly: true}}, shares)
	require.True(t, c.Container.CACertificates)

	c, err = LoadConfig(nil, []string{"ARCBOX_VM__MOUNTS=~/src, /srv:ro", "ARCBOX_CONTAINER__PROXIES=true"}, nil)
	require.NoError(t, err)
	shares, err = c.shares()
	require.NoError(t, err)
	require.ElementsMatch(t, []domain.Share{{Path: filepath.Join(home, "src")}, {Path: "/srv", ReadOnly: true}}, shares)
	require.True(t, c.Container.Proxies)

	c, err = LoadConfig([]string{writeConfig(t, "[vm]\nmounts = []\n")}, nil, nil)
	require.NoError(t, err)
	shares, err = c.shares()
	require.NoError(t, err)
	require.Empty(t, shares)
}

func TestMountsAreChecked(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for _, mounts := range []string{"/proc", "src", "/", "~/.arcbox", "~/.arcbox/vm:ro"} {
		_, err := LoadConfig(nil, []string{"ARCBOX_VM__MOUNTS=" + mounts}, nil)
		require.ErrorIs(t, err, domain.ErrInvalid, mounts)
		require.ErrorContains(t, err, "vm.mounts")
	}
}

// A daemon of the system has no home, or one that is not there: this must not
// keep it from starting.
func TestNoHomeIsNotShared(t *testing.T) {
	for _, home := range []string{"", "/", filepath.Join(t.TempDir(), "absent")} {
		t.Setenv("HOME", home)
		c, err := LoadConfig(nil, []string{"ARCBOX_DATA_DIR=" + os.TempDir()}, nil)
		require.NoError(t, err, home)
		require.Empty(t, c.VM.Mounts, home)
	}
	t.Setenv("HOME", "")
	_, err := LoadConfig(nil, []string{"ARCBOX_DATA_DIR=/data", "ARCBOX_VM__MOUNTS=~"}, nil)
	require.ErrorContains(t, err, "the home directory is not known")
}
