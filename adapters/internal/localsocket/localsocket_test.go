package localsocket

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// shortDir is for sockets: on macOS a directory that has the test's name leaves
// them too few bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir has the test's name in it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func TestListen(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	path := filepath.Join(dir, "a.sock")
	l, err := Listen(path, quiet())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), mode(t, dir))
	require.Equal(t, os.FileMode(0o600), mode(t, path))
	_, err = Listen(path, quiet())
	require.ErrorIs(t, err, domain.ErrAlreadyRunning)

	l.socket.SetUnlinkOnClose(false) // as after a SIGKILL
	require.NoError(t, l.Close())
	l, err = Listen(path, quiet())
	require.NoError(t, err, "what nobody answers on is replaced")
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestListenLeavesTheDirectoriesOfTheUserAsTheyAre(t *testing.T) {
	dir := shortDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(dir, "new", "s")} {
		l, err := Listen(path, quiet())
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), mode(t, path))
		require.NoError(t, l.Close())
	}
	require.Equal(t, os.FileMode(0o755), mode(t, dir), "it was here before")
	require.Equal(t, os.FileMode(0o700), mode(t, filepath.Join(dir, "new")))
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	_, err := Listen(filepath.Join(dir, "s"), quiet())
	require.ErrorIs(t, err, domain.ErrPermission)
	require.Contains(t, domain.Hint(err), "docker.socket_path")
	require.NoError(t, MakePrivate(dir))
	require.Equal(t, os.FileMode(0o700), mode(t, dir))
}

func TestListenTouchesNothingThatIsNotASocket(t *testing.T) {
	dir := shortDir(t)
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(file, link))
	for _, path := range []string{file, link} {
		_, err := Listen(path, quiet())
		require.ErrorIs(t, err, domain.ErrAlreadyExists)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "precious", string(content))
	}
}

func TestPathsThatNoSocketCanHave(t *testing.T) {
	dir := shortDir(t)
	for _, path := range []string{"", filepath.Join(dir, "new", strings.Repeat("x", 120))} {
		_, err := Listen(path, quiet())
		require.ErrorIs(t, err, domain.ErrInvalid)
		require.ErrorContains(t, err, path)
		require.Contains(t, domain.Hint(err), "--data-dir")
		require.NoDirExists(t, filepath.Join(dir, "new"))
	}
	// The longest that is let through is one that the kernel takes.
	longest := filepath.Join(dir, "s")
	for CheckPath(longest+"s") == nil {
		longest += "s"
	}
	l, err := Listen(longest, quiet())
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestOnlyTheUserIsServed(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	var logged strings.Builder
	l, err := Listen(path, slog.New(slog.NewTextHandler(&logged, nil)))
	require.NoError(t, err)
	own := l.uid
	l.uid = own + 1 // of whoever else
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	for range 2 {
		require.ErrorIs(t, readOne(t, path), io.EOF, "closed without a byte, and the next one is looked at")
	}
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-accepted, net.ErrClosed)
	require.Contains(t, logged.String(), "another user")
	require.Contains(t, logged.String(), path)

	l, err = Listen(path, quiet())
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	require.IsType(t, (*net.UnixConn)(nil), server)
	require.NoError(t, server.Close())
}

// readOne connects and returns how reading ends.
func readOne(t *testing.T, path string) error {
	t.Helper()
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	return err
}
