//go:build linux

package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/api/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, name string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), name), Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UnixConn)
}

// serve runs s until the test ends, and returns where to connect to it.
func serve(t *testing.T, s *Server) net.Listener {
	t.Helper()
	l := listen(t, "front.sock")
	s.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return l
}

// pair is a client and the service behind the tunnel.
func pair(t *testing.T) (client, service *net.UnixConn) {
	t.Helper()
	back := listen(t, "back.sock")
	front := serve(t, &Server{Name: "test", Limit: 10, Open: ToUnix(back.Addr().String(), time.Second)})
	client = dial(t, front)
	service, err := back.AcceptUnix()
	require.NoError(t, err)
	require.NoError(t, service.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = service.Close() })
	return client, service
}

// hungUp waits until the kernel shows c's peer as gone, as dockerd does it.
func hungUp(t *testing.T, c *net.UnixConn, within time.Duration) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var revents int16
	require.NoError(t, raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLHUP}}
		for {
			_, err := unix.Poll(fds, int(within.Milliseconds()))
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		revents = fds[0].Revents
	}))
	return revents&unix.POLLHUP != 0
}

func TestHalfCloseIsPassedOnAndTheOtherDirectionGoesOn(t *testing.T) {
	client, service := pair(t)
	_, err := client.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	got, err := io.ReadAll(service)
	require.NoError(t, err)
	require.Equal(t, "question", string(got))
	require.False(t, hungUp(t, service, 100*time.Millisecond), "a half-close must not look like a full one")
	_, err = service.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, service.CloseWrite())
	got, err = io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestTheServiceMayEndFirst(t *testing.T) {
	client, service := pair(t)
	require.NoError(t, service.CloseWrite())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = client.Write([]byte("late"))
	require.NoError(t, err)
	buf := make([]byte, 4)
	_, err = io.ReadFull(service, buf)
	require.NoError(t, err)
	require.Equal(t, "late", string(buf))
}

func TestFullCloseOfAQuietClientIsSeenByTheService(t *testing.T) {
	for name, before := range map[string]func(*net.UnixConn) error{
		"at once":            func(*net.UnixConn) error { return nil },
		"after a half-close": func(c *net.UnixConn) error { defer time.Sleep(50 * time.Millisecond); return c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			client, service := pair(t)
			require.NoError(t, before(client))
			require.NoError(t, client.Close())
			require.True(t, hungUp(t, service, 5*time.Second))
		})
	}
}

func TestFullCloseOfTheServiceIsSeenByTheClient(t *testing.T) {
	client, service := pair(t)
	_, err := service.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, service.Close())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	require.True(t, hungUp(t, client, 5*time.Second))
}

func TestFullCloseIsSeenBehindDataThatNobodyReads(t *testing.T) {
	client, service := pair(t)
	require.NoError(t, service.CloseRead())
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(5*time.Second)))
	_, err := client.Write(make([]byte, 1<<20))
	require.NoError(t, err, "what the service does not read must not block the client")
	require.NoError(t, client.Close())
	require.True(t, hungUp(t, service, 5*time.Second))
}

func TestBytesPassUnchangedBothWaysAtOnce(t *testing.T) {
	client, service := pair(t)
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 3<<20)
	_, _ = random.Read(data)
	var wg sync.WaitGroup
	for _, c := range []*net.UnixConn{client, service} {
		wg.Go(func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		})
	}
	for _, c := range []*net.UnixConn{client, service} {
		wg.Go(func() {
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
		})
	}
	wg.Wait()
}

func TestAServiceThatRestartsIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.sock")
	front := serve(t, &Server{Name: "test", Limit: 10, Open: ToUnix(path, 5*time.Second)})
	client := dial(t, front)
	time.Sleep(60 * time.Millisecond)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	service, err := l.Accept()
	require.NoError(t, err)
	_, _ = service.Write([]byte("here"))
	require.NoError(t, service.Close())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "here", string(got))
}

func TestNobodyThereClosesTheClientAfterTheWait(t *testing.T) {
	front := serve(t, &Server{Name: "test", Limit: 10, Open: ToUnix(filepath.Join(t.TempDir(), "never.sock"), 50*time.Millisecond)})
	got, err := io.ReadAll(dial(t, front))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestConnectionsAreBounded(t *testing.T) {
	back := listen(t, "back.sock")
	front := serve(t, &Server{Name: "test", Limit: 1, Open: ToUnix(back.Addr().String(), time.Second)})
	first := dial(t, front)
	service, err := back.AcceptUnix()
	require.NoError(t, err)
	defer func() { _ = service.Close() }()
	got, err := io.ReadAll(dial(t, front))
	require.NoError(t, err)
	require.Empty(t, got)

	require.NoError(t, first.Close())
	require.Eventually(t, func() bool {
		c := dial(t, front)
		_ = back.SetDeadline(time.Now().Add(50 * time.Millisecond))
		again, err := back.AcceptUnix()
		if err == nil {
			_ = again.Close()
		}
		_ = c.Close()
		return err == nil
	}, 5*time.Second, 10*time.Millisecond, "a slot must come back")
}

func ask(t *testing.T, front net.Listener, raw []byte) (stream.Status, *net.UnixConn) {
	t.Helper()
	c := dial(t, front)
	_, err := c.Write(raw)
	require.NoError(t, err)
	var answer [1]byte
	_, err = io.ReadFull(c, answer[:])
	require.NoError(t, err)
	return stream.Status(answer[0]), c
}

// pairOf returns both ends of a connection.
func pairOf(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l := listen(t, "pair.sock")
	b = dial(t, l)
	a, err := l.AcceptUnix()
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a, b
}

func TestStreamPort(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = echo.Close() }()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	waiting, host := pairOf(t)
	accept := func(id string) Conn {
		if id == "7" {
			return waiting
		}
		return nil
	}
	front := serve(t, &Server{Name: "stream", Limit: 10, Open: ToStream(Streams{
		Allowed: func(a netip.Addr) bool { return a.IsLoopback() }, Accept: accept,
	})})
	header := func(n stream.Network, address string) []byte {
		b, err := stream.Header{Network: n, Address: address}.Append(nil)
		require.NoError(t, err)
		return b
	}
	for name, c := range map[string]struct {
		raw  []byte
		want stream.Status
	}{
		"nobody listens":  {header(stream.NetworkTCP, closed.Addr().String()), stream.StatusRefused},
		"not ours":        {header(stream.NetworkTCP, "192.0.2.1:80"), stream.StatusForbidden},
		"mapped not ours": {header(stream.NetworkTCP, "[::ffff:192.0.2.1]:80"), stream.StatusForbidden},
		"a name":          {header(stream.NetworkTCP, "localhost:80"), stream.StatusMalformed},
		"no port":         {header(stream.NetworkTCP, "127.0.0.1:0"), stream.StatusMalformed},
		"udp":             {header(9, "127.0.0.1:53"), stream.StatusUnsupported},
		"nobody waits":    {header(stream.NetworkAccept, "8"), stream.StatusRefused},
		"other version":   {[]byte{9, 1, 0, 1}, stream.StatusUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			got, conn := ask(t, front, c.raw)
			require.Equal(t, c.want, got)
			rest, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Empty(t, rest)
		})
	}
	got, taken := ask(t, front, append(header(stream.NetworkAccept, "7"), "from the host"...))
	require.Equal(t, stream.StatusOK, got)
	require.NoError(t, taken.CloseWrite())
	text, err := io.ReadAll(host)
	require.NoError(t, err)
	require.Equal(t, "from the host", string(text))

	got, conn := ask(t, front, append(header(stream.NetworkTCP, echo.Addr().String()), "early"...))
	require.Equal(t, stream.StatusOK, got)
	inner, err := echo.Accept()
	require.NoError(t, err)
	buf := make([]byte, 5)
	_, err = io.ReadFull(inner, buf)
	require.NoError(t, err)
	require.Equal(t, "early", string(buf), "what follows the header belongs to the stream")
	// A reset must come through although nobody writes.
	require.NoError(t, inner.(*net.TCPConn).SetLinger(0))
	require.NoError(t, inner.Close())
	_, err = conn.Read(buf)
	require.Error(t, err)
}

func TestOwnNetworks(t *testing.T) {
	allowed := OwnNetworks("eth0")
	require.True(t, allowed(netip.MustParseAddr("127.0.0.1")))
	require.True(t, allowed(netip.MustParseAddr("::1")))
	require.False(t, allowed(netip.MustParseAddr("192.0.2.1")))
}
