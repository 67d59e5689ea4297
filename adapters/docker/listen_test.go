package docker

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, "docker.sock")
	l, err := listenPrivate(path)
	require.NoError(t, err)
	for p, mode := range map[string]os.FileMode{dir: 0o700, path: 0o600} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), p)
	}
	_, err = listenPrivate(path)
	require.ErrorIs(t, err, domain.ErrAlreadyRunning)
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	_ = conn.Close()

	l.SetUnlinkOnClose(false) // as after a SIGKILL
	require.NoError(t, l.Close())
	l, err = listenPrivate(path)
	require.NoError(t, err, "what nobody answers on is removed")
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
}

func TestListenMakesAPrivateDirectoryAndLeavesOthersAsTheyAre(t *testing.T) {
	mode := func(dir string) os.FileMode {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		return info.Mode().Perm()
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(dir, "new", "s")} {
		l, err := listenPrivate(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), mode(path))
		require.NoError(t, l.Close())
	}
	require.Equal(t, os.FileMode(0o755), mode(dir), "it was here before")
	require.Equal(t, os.FileMode(0o700), mode(filepath.Join(dir, "new")))
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	_, err := listenPrivate(filepath.Join(dir, "s"))
	require.ErrorIs(t, err, domain.ErrPermission)
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	_, err := listenPrivate(file)
	require.ErrorIs(t, err, domain.ErrAlreadyExists)
	require.Equal(t, "precious", read(t, file))

	long := filepath.Join(dir, strings.Repeat("x", 120))
	_, err = listenPrivate(long)
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Contains(t, err.Error(), long)
	require.Contains(t, domain.Hint(err), "--data-dir")

	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(file, link))
	_, err = listenPrivate(link)
	require.ErrorIs(t, err, domain.ErrAlreadyExists)
	require.ErrorIs(t, NewServer(Options{}, &fakeEngines{}).Listen(), domain.ErrInvalid)
}
