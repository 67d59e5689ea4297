package hostsockets

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// waits counts the connections that the host has not come for.
func (s *Server) waits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

func TestAHundredAtOnce(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent()}))
	h := b.Attach()
	defer h.Close()
	var hosts, clients sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	hosts.Go(func() {
		for {
			c, err := h.Next(ctx)
			if err != nil {
				return
			}
			hosts.Go(func() {
				conn := b.Take(c.ID)
				if conn == nil {
					return
				}
				defer conn.Close()
				buf := make([]byte, 4)
				n, _ := conn.Read(buf)
				_, _ = conn.Write(buf[:n])
			})
		}
	})
	answers := make(chan string, 100)
	turn := make(chan struct{}, maxWaiting/2) // more at once is refused by right
	for range 100 {
		clients.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			c, err := net.Dial("unix", b.agent().Path)
			if err != nil {
				answers <- err.Error()
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = c.Write([]byte("ping"))
			buf := make([]byte, 4)
			n, err := c.Read(buf)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- string(buf[:n])
		})
	}
	clients.Wait()
	cancel()
	hosts.Wait()
	for range 100 {
		require.Equal(t, "ping", <-answers)
	}
	require.Eventually(t, func() bool { return len(b.slots) == 0 }, 5*time.Second, time.Millisecond)
}

func TestConnectionsThatWaitAreBounded(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent()}))
	h := b.Attach()
	var waiting []*net.UnixConn
	for range maxWaiting {
		waiting = append(waiting, dial(t, b.agent().Path))
	}
	require.Eventually(t, func() bool { return b.waits() == maxWaiting }, 5*time.Second, time.Millisecond)
	for range 20 {
		refused(t, dial(t, b.agent().Path))
	}
	require.LessOrEqual(t, strings.Count(b.logs.String(), "\n"), 4, "the log is not flooded")

	// Another host does not inherit them: the first may be on its way to them.
	second := b.Attach()
	for _, c := range waiting {
		refused(t, c)
	}
	_, err := h.Next(t.Context())
	require.ErrorIs(t, err, errHostGone)
	h.Close() // it is not the host any more
	c := dial(t, b.agent().Path)
	id := next(t, second).ID
	second.Close()
	second.Close()
	refused(t, c)
	require.Nil(t, b.Take(id))
}

func TestOpenConnectionsAreBounded(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent()}))
	h := b.Attach()
	defer h.Close()
	var open []net.Conn
	for range maxConnections {
		dial(t, b.agent().Path)
		open = append(open, take(t, b, next(t, h).ID))
	}
	refused(t, dial(t, b.agent().Path))
	require.NoError(t, open[0].Close())
	c := dial(t, b.agent().Path)
	exchange(t, c, take(t, b, next(t, h).ID))
}

func TestTheEndOfTheAgentEndsWhoWaits(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent()}))
	h := b.Attach()
	defer h.Close()
	c := dial(t, b.agent().Path)
	require.NotEmpty(t, next(t, h).ID)
	b.end()
	refused(t, c)
	_, err := net.Dial("unix", b.agent().Path)
	require.Error(t, err)
	require.ErrorIs(t, b.SetServices([]domain.GuestSocket{{Service: "a", Path: b.dir + "/late"}}), domain.ErrShuttingDown)
}

func TestAHostThatDoesNotComeIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Log: slog.New(slog.DiscardHandler)})
		h := s.Attach()
		defer h.Close()
		begin := time.Now()
		require.ErrorIs(t, s.await(t.Context(), Target{Service: "a"}, nil), domain.ErrTimeout)
		require.Equal(t, hostLimit, time.Since(begin))
		require.Zero(t, s.waits())

		// Nor does it make the queue grow.
		for range 10 {
			var all sync.WaitGroup
			for range maxWaiting {
				all.Go(func() { _ = s.await(t.Context(), Target{Service: "a"}, nil) })
			}
			all.Wait()
		}
		require.LessOrEqual(t, len(h.queue), 2*maxWaiting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := h.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "those that gave up are not told")
	})
}

func TestComplaintsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		l := &limiter{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 10 {
			l.warn(Target{Service: "a"}, domain.ErrTimeout)
		}
		require.Equal(t, 1, strings.Count(out.String(), "\n"))
		time.Sleep(complaintPause)
		l.warn(Target{HostPath: "/b"}, domain.ErrTimeout)
		require.Equal(t, 2, strings.Count(out.String(), "\n"))
		require.Contains(t, out.String(), "others_since=9")
	})
}

func FuzzCheckPath(f *testing.F) {
	for _, p := range []string{"/a", "/", "/a/../b", "a", "/a//b", "/a\x00", "/\xff", "/.."} {
		f.Add(p)
	}
	s := New(Config{Dir: "/run/arcbox/sockets", Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, p string) {
		if checkPath(p) != nil {
			return
		}
		guest := s.guestPath(p)
		require.True(t, below("/run/arcbox/sockets", guest))
		require.Equal(t, guest, filepath.Clean(guest))
		require.Less(t, len(guest), 4096)
		require.NotContains(t, guest, ":")
		require.NotContains(t, strings.Split(p, "/"), "..")
	})
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.Load(filepath.Join(t.TempDir(), "f")))
	require.NoError(t, os.MkdirAll(b.dir+"/sockets/home/me/x", 0o755))
	_, err := b.Offer("/home/me/x")
	require.ErrorIs(t, err, domain.ErrAlreadyExists)
	require.DirExists(t, b.dir+"/sockets/home/me/x")
}
