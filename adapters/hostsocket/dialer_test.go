package hostsocket

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortDir has no links in its path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // t.TempDir has the test's name in it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	dir, err = filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	return dir
}

// serve says name to whoever connects.
func serve(t *testing.T, path, name string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(name))
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
}

func said(t *testing.T, s port.Stream, err error) string {
	t.Helper()
	require.NoError(t, err)
	defer s.Close()
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	return string(got)
}

func TestDialFollowsLinks(t *testing.T) {
	dir := shortDir(t)
	serve(t, dir+"/agent.1", "agent")
	require.NoError(t, os.Symlink("agent.1", dir+"/agent"))
	s, err := Dialer{}.Dial(t.Context(), dir+"/agent")
	require.Equal(t, "agent", said(t, s, err))
	_, err = Dialer{}.Dial(t.Context(), dir+"/missing")
	require.ErrorIs(t, err, domain.ErrNotFound)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/dead", Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	_, err = Dialer{}.Dial(t.Context(), dir+"/dead")
	require.ErrorIs(t, err, domain.ErrUnavailable)
}

func TestDialExactFollowsNone(t *testing.T) {
	dir := shortDir(t)
	require.NoError(t, os.Mkdir(dir+"/d", 0o700))
	serve(t, dir+"/d/s", "exact")
	s, err := Dialer{}.DialExact(t.Context(), dir+"/d/s")
	require.Equal(t, "exact", said(t, s, err))

	require.NoError(t, os.Symlink("s", dir+"/d/link"))
	require.NoError(t, os.Symlink("d", dir+"/dl"))
	require.NoError(t, os.WriteFile(dir+"/file", nil, 0o600))
	for _, p := range []string{dir + "/d/link", dir + "/dl/s", dir + "/file", dir, dir + "/file/s"} {
		_, err := Dialer{}.DialExact(t.Context(), p)
		require.ErrorIs(t, err, domain.ErrPermission, p)
	}
	_, err = Dialer{}.DialExact(t.Context(), dir+"/missing")
	require.ErrorIs(t, err, domain.ErrNotFound)
	for _, p := range []string{"d/s", dir + "/d/../d/s", dir + "/d/s/", ""} {
		_, err := Dialer{}.DialExact(t.Context(), p)
		require.Error(t, err, p)
	}
}

func TestALinkThatIsMadeMeanwhileIsNotFollowed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system cannot connect to an open file")
	}
	dir := shortDir(t)
	for _, d := range []string{"/shared", "/secret"} {
		require.NoError(t, os.Mkdir(dir+d, 0o700))
	}
	serve(t, dir+"/secret/s", "secret")
	serve(t, dir+"/shared/s", "shared")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // as a guest would
		for ctx.Err() == nil {
			_ = os.Rename(dir+"/shared", dir+"/away")
			_ = os.Symlink("secret", dir+"/shared")
			_ = os.Remove(dir + "/shared")
			_ = os.Rename(dir+"/away", dir+"/shared")
		}
	})
	reached := 0
	for range 3000 {
		s, err := Dialer{}.DialExact(t.Context(), dir+"/shared/s")
		if err == nil {
			reached++
			require.Equal(t, "shared", said(t, s, nil))
		}
	}
	cancel()
	wg.Wait()
	require.Positive(t, reached)
}

func TestABusySocketIsTriedAgain(t *testing.T) {
	dir := shortDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s", Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	// Fill what the kernel keeps for it, until one does not get in.
	var held []port.Stream
	defer func() {
		for _, s := range held {
			_ = s.Close()
		}
	}()
	for full := false; !full; {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		s, err := Dialer{}.Dial(ctx, dir+"/s")
		cancel()
		if err != nil {
			require.ErrorIs(t, err, domain.ErrTimeout)
			full = true
			continue
		}
		held = append(held, s)
	}
	result := make(chan error, 1)
	go func() {
		s, err := Dialer{}.Dial(t.Context(), dir+"/s")
		if err == nil {
			_ = s.Close()
		}
		result <- err
	}()
	for len(result) == 0 {
		require.NoError(t, l.SetDeadline(time.Now().Add(20*time.Millisecond)))
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}
	require.NoError(t, <-result)
}
