package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/api/stream"
	"arcbox/application/port"
	"arcbox/domain"
)

type socketsStream = grpc.BidiStreamingServer[agentv1.SocketsRequest, agentv1.SocketsResponse]

func (g *guest) Sockets(s socketsStream) error {
	if g.sockets == nil {
		return g.UnimplementedAgentServiceServer.Sockets(s)
	}
	return g.sockets(s)
}

func (g *guest) OfferSocket(ctx context.Context, r *agentv1.OfferSocketRequest) (*agentv1.OfferSocketResponse, error) {
	if g.offer == nil {
		return g.UnimplementedAgentServiceServer.OfferSocket(ctx, r)
	}
	path, err := g.offer(r.HostPath)
	return &agentv1.OfferSocketResponse{GuestPath: path}, err
}

func toService(id string) *agentv1.SocketsResponse {
	return &agentv1.SocketsResponse{Connection: id, To: &agentv1.SocketsResponse_Service{Service: "ssh-agent"}}
}

func toPath(id, path string) *agentv1.SocketsResponse {
	return &agentv1.SocketsResponse{Connection: id, To: &agentv1.SocketsResponse_HostPath{HostPath: path}}
}

// pairOf returns both ends of a Unix connection. What a test leaves open is
// closed with it.
func pairOf(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "p") //nolint:usetesting // t.TempDir has the test's name in it
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	require.NoError(t, err)
	b, err = l.AcceptUnix()
	require.NoError(t, err)
	for _, c := range []*net.UnixConn{a, b} {
		t.Cleanup(func() { _ = c.Close() })
	}
	return a, b
}

// machine is a guest with a stream port: each dial takes the next end of
// clients that the test made, by its id.
type machine struct {
	*dialer
	t *testing.T

	mu      sync.Mutex
	clients map[string]*net.UnixConn
	status  stream.Status
	mute    bool // does not answer
	wg      sync.WaitGroup
}

func newMachine(t *testing.T, g *guest) *machine {
	m := &machine{dialer: serve(t, g), t: t, clients: map[string]*net.UnixConn{}}
	t.Cleanup(m.wg.Wait)
	return m
}

// client makes a connection that waits under id and returns the container's end.
func (m *machine) client(id string) *net.UnixConn {
	mine, agents := pairOf(m.t)
	require.NoError(m.t, mine.SetDeadline(time.Now().Add(20*time.Second)))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clients[id] = agents
	return mine
}

func (m *machine) Dial(ctx context.Context, p uint32) (port.Stream, error) {
	if p != domain.PortStream {
		return m.dialer.Dial(ctx, p)
	}
	host, agents := pairOf(m.t)
	m.wg.Go(func() { m.accept(agents) })
	return host, nil
}

func (m *machine) accept(c *net.UnixConn) {
	defer c.Close()
	h, _, err := stream.Read(c)
	m.mu.Lock()
	client, answer, mute := m.clients[h.Address], m.status, m.mute
	delete(m.clients, h.Address)
	m.mu.Unlock()
	switch {
	case err != nil:
		return
	case mute:
		_, _ = io.Copy(io.Discard, c)
		return
	case client == nil || h.Network != stream.NetworkAccept:
		answer = stream.StatusRefused
	}
	_, _ = c.Write([]byte{byte(answer)})
	if answer == stream.StatusOK {
		splice(context.Background(), c, client)
	}
}

// hostSide answers as the application would.
type hostSide struct {
	dial func(ctx context.Context, what string) (port.Stream, error)
}

func (h hostSide) DialService(ctx context.Context, s string) (port.Stream, error) {
	return h.dial(ctx, "service "+s)
}
func (h hostSide) DialPath(ctx context.Context, p string) (port.Stream, error) {
	return h.dial(ctx, "path "+p)
}

// echo connects to a server that gives back what it gets, and ends when its
// client has ended.
func echo(t *testing.T) hostSide {
	return hostSide{func(_ context.Context, what string) (port.Stream, error) {
		a, b := pairOf(t)
		go func() {
			defer b.Close()
			_, _ = io.Copy(b, b)
			_, _ = b.Write([]byte(" from " + what))
		}()
		return a, nil
	}}
}

func serveHost(t *testing.T, s port.AgentSession, h port.SocketHandler) (end func(), result <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { done <- s.(port.SocketSource).Sockets(ctx, h) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return cancel, done
}

func answer(t *testing.T, s socketsStream) string {
	m, err := s.Recv()
	if err != nil {
		return "broken: " + err.Error()
	}
	return m.Refused + " " + m.Reason
}

func idleSockets(s socketsStream) error { <-s.Context().Done(); return nil }

func TestContainersReachTheHost(t *testing.T) {
	g := newGuest()
	m := newMachine(t, g)
	one, two := m.client("1"), m.client("2")
	g.sockets = func(s socketsStream) error {
		_ = s.Send(toService("1"))
		_ = s.Send(toPath("2", "/home/me/x"))
		return idleSockets(s)
	}
	c, _ := client()
	end, result := serveHost(t, connect(t, c, m), echo(t))
	for conn, want := range map[*net.UnixConn]string{one: "question from service ssh-agent", two: "question from path /home/me/x"} {
		_, err := conn.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, want, string(got), "its end is only half of one")
	}
	end()
	require.ErrorIs(t, <-result, domain.ErrCanceled)
}

func TestWhatIsRefusedIsSaid(t *testing.T) {
	g, heard := newGuest(), make(chan string, 16)
	m := newMachine(t, g)
	m.client("6")
	m.status = stream.StatusBusy
	g.sockets = func(s socketsStream) error {
		for _, r := range []*agentv1.SocketsResponse{
			toPath("1", "relative"), toPath("2", "/home/../etc/x"), toPath("3", "/a\x00b"), toPath("4", "/"+strings.Repeat("x", 4096)),
			{Connection: "5", To: &agentv1.SocketsResponse_Service{Service: "\x1b[2J"}}, {Connection: "7"},
			toPath("8", "/denied"), toPath("6", "/ok"), toPath("9", "/ok"),
		} {
			if err := s.Send(r); err != nil {
				return err
			}
			heard <- answer(t, s)
		}
		return idleSockets(s)
	}
	c, _ := client()
	h := echo(t)
	good := h.dial
	h.dial = func(ctx context.Context, what string) (port.Stream, error) {
		if what != "path /ok" {
			return nil, domain.WithHint(errors.New("not\x07 "+what), "do this")
		}
		return good(ctx, what)
	}
	serveHost(t, connect(t, c, m), h)
	for _, want := range []string{"1 \"relative\": not a path", "2 \"/home/../etc/x\"", `3 "/a\x00b"`, "4 \"/xxx", "5 the host has no service \"\\x1b[2J\"", "7 this host does not know",
		"8 not? path /denied (do this)", "6 the guest does not hand the connection over: too many", "9 the guest does not hand the connection over: connection refused"} {
		got := <-heard
		require.Contains(t, got, want)
		require.Less(t, len(got), 300)
	}
}

func TestAStreamThatMakesNoSenseIsOpenedAgain(t *testing.T) {
	for _, id := range []string{"", "a b", "../1", strings.Repeat("1", 33), "\n"} {
		g := newGuest()
		m := newMachine(t, g)
		conn := m.client("1")
		opened := make(chan struct{}, 100)
		g.sockets = func(s socketsStream) error {
			opened <- struct{}{}
			if len(opened) == 1 {
				_ = s.Send(toService(id))
			} else {
				_ = s.Send(toService("1"))
			}
			return idleSockets(s)
		}
		c, _ := client()
		serveHost(t, connect(t, c, m), echo(t))
		require.NoError(t, conn.CloseWrite())
		_, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Len(t, opened, 2, "%q", id)
	}
}

func TestAConnectionOutlivesItsStreamButNotItsSession(t *testing.T) {
	g := newGuest()
	m := newMachine(t, g)
	conn := m.client("1")
	again, drop := make(chan struct{}), make(chan struct{})
	first := true
	g.sockets = func(s socketsStream) error {
		if !first {
			close(again)
			return idleSockets(s)
		}
		first = false
		_ = s.Send(toService("1"))
		<-drop
		return status.Error(codes.Aborted, "agent restarts")
	}
	c, _ := client()
	s := connect(t, c, m)
	_, result := serveHost(t, s, echo(t))
	talk := func() {
		_, err := conn.Write([]byte("ping"))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 4))
		require.NoError(t, err)
	}
	talk()
	close(drop)
	<-again
	talk()
	require.NoError(t, s.Close())
	require.Error(t, <-result)
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestAnAgentWithoutSockets(t *testing.T) {
	g := newGuest()
	c, _ := client()
	s := connect(t, c, newMachine(t, g))
	_, result := serveHost(t, s, echo(t))
	err := <-result
	require.ErrorIs(t, err, domain.ErrProtocol)
	require.NotEmpty(t, domain.Hint(err))
}

func TestAHundredConnectionsAndAFlood(t *testing.T) {
	g := newGuest()
	m := newMachine(t, g)
	var conns []*net.UnixConn
	for i := range 100 {
		conns = append(conns, m.client(strconv.Itoa(i)))
	}
	flooded := make(chan int, 1)
	g.sockets = func(s socketsStream) error {
		for i := range 100 {
			_ = s.Send(toService(strconv.Itoa(i)))
		}
		<-flooded
		refused := 0
		var all sync.WaitGroup
		all.Go(func() {
			for range 2000 {
				if strings.Contains(answer(t, s), "connections are open") {
					refused++
				}
			}
		})
		for i := range 2000 { // each is held by a handler that does not come back
			_ = s.Send(toPath(strconv.Itoa(1000+i), "/slow"))
		}
		all.Wait()
		flooded <- refused
		return idleSockets(s)
	}
	c, _ := client()
	h := echo(t)
	good, hold := h.dial, make(chan struct{})
	var held sync.Map
	h.dial = func(ctx context.Context, what string) (port.Stream, error) {
		if what != "path /slow" {
			return good(ctx, what)
		}
		held.Store(&what, true)
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil, errors.New("gave up")
	}
	serveHost(t, connect(t, c, m), h)
	for _, conn := range conns {
		_, err := conn.Write([]byte("ping"))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 4))
		require.NoError(t, err)
	}
	flooded <- 0
	at := func() (n int) { held.Range(func(any, any) bool { n++; return true }); return n }
	require.Eventually(t, func() bool { return at() == socketsAtOnce-100 }, 10*time.Second, time.Millisecond)
	close(hold)
	require.GreaterOrEqual(t, <-flooded, 1)
	for _, conn := range conns { // who was there is not disturbed
		require.NoError(t, conn.CloseWrite())
		_, err := io.ReadAll(conn)
		require.NoError(t, err)
	}
}

func TestTheEndDoesNotWaitForAMuteGuest(t *testing.T) {
	g := newGuest()
	m := newMachine(t, g)
	m.mute = true
	g.sockets = func(s socketsStream) error { _ = s.Send(toService("1")); return idleSockets(s) }
	dialed := make(chan struct{})
	c, _ := client()
	h := echo(t)
	good := h.dial
	h.dial = func(ctx context.Context, what string) (port.Stream, error) {
		defer close(dialed)
		return good(ctx, what)
	}
	end, result := serveHost(t, connect(t, c, m), h)
	<-dialed
	begin := time.Now()
	end()
	require.ErrorIs(t, <-result, domain.ErrCanceled)
	require.Less(t, time.Since(begin), 2*time.Second)
}

func TestOfferSocket(t *testing.T) {
	g := newGuest()
	c, _ := client()
	s := connect(t, c, newMachine(t, g)).(port.SocketSource)
	for name, step := range map[string]struct {
		path, answer string
		err          error
		want         error
	}{
		"offered":       {path: "/home/me/a", answer: "/run/a"},
		"bad path":      {path: "a", want: domain.ErrInvalid},
		"not text":      {path: "/\xff", want: domain.ErrInvalid},
		"bad answer":    {path: "/a", answer: "../x", want: domain.ErrProtocol},
		"empty answer":  {path: "/a", want: domain.ErrProtocol},
		"not yet":       {path: "/a", err: status.Error(codes.FailedPrecondition, "disk"), want: domain.ErrInvalidState},
		"full":          {path: "/a", err: status.Error(codes.ResourceExhausted, "full"), want: domain.ErrConflict},
		"refused there": {path: "/a", err: status.Error(codes.InvalidArgument, "no"), want: domain.ErrInvalid},
	} {
		g.offer = func(string) (string, error) { return step.answer, step.err }
		got, err := s.OfferSocket(t.Context(), step.path)
		if step.want != nil {
			require.ErrorIs(t, err, step.want, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, step.answer, got)
	}
}

func FuzzSocketConnection(f *testing.F) {
	f.Add("1", "/home/me/a", true)
	f.Add("../1", "/a/../b", true)
	f.Add("", "ssh-agent", false)
	f.Fuzz(func(t *testing.T, id, to string, path bool) {
		m := toPath(id, to)
		if !path {
			m.To = &agentv1.SocketsResponse_Service{Service: to}
		}
		c, err := toSocketConnection(m)
		if err != nil {
			require.Empty(t, c.service+c.path)
			require.Less(t, len(err.Error()), 1024)
			return
		}
		_, err = stream.Header{Network: stream.NetworkAccept, Address: c.id}.Append(nil)
		require.NoError(t, err)
		require.NotEqual(t, c.service == "", c.path == "")
		if path {
			require.Equal(t, filepath.Clean(c.path), c.path)
			require.True(t, filepath.IsAbs(c.path))
			require.NotContains(t, c.path, "\x00")
		}
	})
}
