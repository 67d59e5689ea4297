package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest is a server whose answers a test decides.
type guest struct {
	agentv1.UnimplementedAgentServiceServer
	hello  func() (*agentv1.HelloResponse, error)
	events chan *agentv1.WatchResponse
	logs   chan *agentv1.LogsResponse
	asked  chan *agentv1.LogsRequest
	ending chan struct{}
	// forwards serves the stream of forwards; nil is an agent that has none.
	forwards func(forwardsStream) error
	// sockets serves the stream of sockets, offer answers offers; nil is an agent
	// that has none.
	sockets func(socketsStream) error
	offer   func(string) (string, error)
}

type forwardsStream = grpc.BidiStreamingServer[agentv1.ForwardsRequest, agentv1.ForwardsResponse]

func (g *guest) Forwards(s forwardsStream) error {
	if g.forwards == nil {
		return g.UnimplementedAgentServiceServer.Forwards(s)
	}
	return g.forwards(s)
}

func newGuest() *guest {
	return &guest{
		hello: func() (*agentv1.HelloResponse, error) {
			return &agentv1.HelloResponse{Protocol: domain.AgentProtocol, Version: "1", BootId: "boot"}, nil
		},
		events: make(chan *agentv1.WatchResponse, 10), logs: make(chan *agentv1.LogsResponse, 10),
		asked: make(chan *agentv1.LogsRequest, 10), ending: make(chan struct{}),
	}
}

func (g *guest) Hello(context.Context, *agentv1.HelloRequest) (*agentv1.HelloResponse, error) {
	return g.hello()
}

func (g *guest) Watch(_ *agentv1.WatchRequest, s grpc.ServerStreamingServer[agentv1.WatchResponse]) error {
	for {
		select {
		case m := <-g.events:
			if err := s.Send(m); err != nil {
				return err
			}
		case <-g.ending:
			return nil
		case <-s.Context().Done():
			return nil
		}
	}
}

func (g *guest) Logs(r *agentv1.LogsRequest, s grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	g.asked <- r
	for {
		select {
		case m := <-g.logs:
			if err := s.Send(m); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

// pipe gives a bufconn connection the CloseWrite of a port.Stream.
type pipe struct{ net.Conn }

func (p pipe) CloseWrite() error { return errors.ErrUnsupported }

type dialer struct {
	l        *bufconn.Listener
	refuse   atomic.Int32
	attempts atomic.Int32
}

func (d *dialer) Dial(ctx context.Context, p uint32) (port.Stream, error) {
	d.attempts.Add(1)
	if p != domain.PortAgent || d.refuse.Add(-1) >= 0 {
		return nil, errors.New("connection refused by the test")
	}
	c, err := d.l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return pipe{c}, nil
}

func serve(t *testing.T, g *guest) *dialer { t.Helper(); return serveAny(t, g) }

func serveAny(t *testing.T, g agentv1.AgentServiceServer) *dialer {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	s := grpc.NewServer()
	agentv1.RegisterAgentServiceServer(s, g)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return &dialer{l: l}
}

// files collects logs in memory.
type files struct {
	mu     sync.Mutex
	text   map[string]string
	closed int
}

type file struct {
	f    *files
	name string
}

func (f *files) Writer(_ domain.MachineName, component string) (io.WriteCloser, error) {
	return file{f, component}, nil
}
func (f *files) Tail(domain.MachineName, string, int) ([]string, error) { return nil, nil }
func (f *files) Path(domain.MachineName, string) string                 { return "" }
func (f file) Write(p []byte) (int, error) {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	f.f.text[f.name] += string(p)
	return len(p), nil
}
func (f file) Close() error {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	f.f.closed++
	return nil
}
func (f *files) get(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text[name]
}

func client() (*Agents, *files) {
	f := &files{text: map[string]string{}}
	return New(Config{Version: "test", Logs: f, Log: slog.New(slog.DiscardHandler)}), f
}

func connect(t *testing.T, a *Agents, d port.Dialer) port.AgentSession {
	t.Helper()
	return connectFor(t, a, d, 3*time.Minute)
}

func connectFor(t *testing.T, a *Agents, d port.Dialer, silence time.Duration) port.AgentSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel() // the session outlives it
	s, err := a.Connect(ctx, "default", d, silence)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func statusEvent(ready bool) *agentv1.WatchResponse {
	return &agentv1.WatchResponse{Event: &agentv1.WatchResponse_Status{Status: &agentv1.Status{EngineReady: ready, EngineApi: "1.56"}}}
}

func TestConnectRetriesAndStatusIsPushed(t *testing.T) {
	g := newGuest()
	d := serve(t, g)
	d.refuse.Store(3)
	a, _ := client()
	s := connect(t, a, d)
	require.EqualValues(t, 4, d.attempts.Load())
	require.Equal(t, "boot", s.Hello().BootID)
	before, changed := s.Status()
	require.False(t, before.EngineReady)
	g.events <- statusEvent(true)
	<-changed
	now, _ := s.Status()
	require.True(t, now.EngineReady)
	require.Equal(t, "1.56", now.EngineAPI)
}

func TestConnectEndsWithTheContextAndSaysWhatItMet(t *testing.T) {
	g := newGuest()
	d := serve(t, g)
	d.refuse.Store(1 << 30)
	a, _ := client()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := a.Connect(ctx, "default", d, time.Minute)
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorContains(t, err, "connection refused by the test")
}

func TestConnectDoesNotWaitOnAConnectionThatBreaks(t *testing.T) {
	g := newGuest()
	d := serve(t, g)
	var first atomic.Bool
	breaking := dialerFunc(func(ctx context.Context, p uint32) (port.Stream, error) {
		s, err := d.Dial(ctx, p)
		if err == nil && !first.Swap(true) {
			_ = s.Close()
		}
		return s, err
	})
	a, _ := client()
	begin := time.Now()
	connect(t, a, breaking)
	require.Less(t, time.Since(begin), 5*time.Second)
}

type dialerFunc func(context.Context, uint32) (port.Stream, error)

func (f dialerFunc) Dial(ctx context.Context, p uint32) (port.Stream, error) { return f(ctx, p) }

func TestProtocolMismatchSaysWhichSideToUpdate(t *testing.T) {
	for name, c := range map[string]struct {
		protocol   uint32
		text, hint string
	}{
		"older guest": {domain.AgentProtocol - 1, "guest agent is too old", "arcbox boot prefetch"},
		"newer guest": {domain.AgentProtocol + 1, "daemon is too old", "update arcbox"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest()
			g.hello = func() (*agentv1.HelloResponse, error) {
				return &agentv1.HelloResponse{Protocol: c.protocol, Version: "9.9\x1b[31m"}, nil
			}
			a, _ := client()
			_, err := a.Connect(t.Context(), "default", serve(t, g), time.Minute)
			require.ErrorIs(t, err, domain.ErrProtocol)
			require.ErrorContains(t, err, c.text)
			require.Contains(t, domain.Hint(err), c.hint)
			require.NotContains(t, err.Error(), "\x1b")
		})
	}
	t.Run("no hello at all", func(t *testing.T) {
		g := newGuest()
		g.hello = func() (*agentv1.HelloResponse, error) {
			return g.UnimplementedAgentServiceServer.Hello(context.Background(), nil)
		}
		a, _ := client()
		_, err := a.Connect(t.Context(), "default", serve(t, g), time.Minute)
		require.ErrorIs(t, err, domain.ErrProtocol)
	})
}

func TestSilenceIsTheLossOfTheAgent(t *testing.T) {
	g := newGuest()
	a, _ := client()
	s := connectFor(t, a, serve(t, g), 90*time.Millisecond)
	begin := time.Now()
	for range 5 {
		time.Sleep(30 * time.Millisecond)
		g.events <- &agentv1.WatchResponse{Event: &agentv1.WatchResponse_Heartbeat{Heartbeat: &agentv1.Heartbeat{}}}
	}
	<-s.Done()
	require.Greater(t, time.Since(begin), 200*time.Millisecond, "heartbeats must have kept it")
	require.ErrorIs(t, s.Err(), domain.ErrAgentLost)
	require.ErrorContains(t, s.Err(), "no sign of life")
	require.Error(t, s.Shutdown(t.Context(), time.Second))
}

func TestTheEndOfTheWatchIsTheLossOfTheAgent(t *testing.T) {
	g := newGuest()
	a, _ := client()
	s := connect(t, a, serve(t, g))
	close(g.ending)
	<-s.Done()
	require.ErrorIs(t, s.Err(), domain.ErrAgentLost)
}

func TestCloseIsNotALoss(t *testing.T) {
	a, _ := client()
	s := connect(t, a, serve(t, newGuest()))
	require.NoError(t, s.Close())
	<-s.Done()
	require.Error(t, s.Err())
	require.NotErrorIs(t, s.Err(), domain.ErrAgentLost)
	require.NoError(t, s.Close())
}

func TestLogsAreWrittenCleanedAndGoOnWhereTheyWere(t *testing.T) {
	g := newGuest()
	d := serve(t, g)
	a, f := client()
	s := connect(t, a, d)
	require.Empty(t, (<-g.asked).Positions)
	g.logs <- &agentv1.LogsResponse{Component: "dockerd", Data: []byte("one\ntwo\x1b[2J\xff\r\n"), Next: 2}
	g.logs <- &agentv1.LogsResponse{Component: "dockerd", Data: []byte(strings.Repeat("x", maxLogLine+5) + "\n"), Dropped: 7, Next: 10}
	want := "one\ntwo?[2J?\n(7 lines lost)\n" + strings.Repeat("x", maxLogLine) + "\n"
	require.Eventually(t, func() bool { return f.get("dockerd") == want }, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, s.Close())
	require.Equal(t, 1, f.closed)

	connect(t, a, d)
	again := <-g.asked
	require.Len(t, again.Positions, 1)
	require.EqualValues(t, 10, again.Positions[0].Next)

	g.hello = func() (*agentv1.HelloResponse, error) {
		return &agentv1.HelloResponse{Protocol: domain.AgentProtocol, BootId: "another"}, nil
	}
	connect(t, a, d)
	require.Empty(t, (<-g.asked).Positions, "another boot starts over")
}

func TestALogThatWantsOutOfItsDirectoryEndsTheLogsOnly(t *testing.T) {
	g := newGuest()
	a, f := client()
	s := connect(t, a, serve(t, g))
	g.logs <- &agentv1.LogsResponse{Component: "../../evil", Data: []byte("x\n")}
	g.events <- statusEvent(true)
	require.Eventually(t, func() bool { st, _ := s.Status(); return st.EngineReady }, 5*time.Second, 5*time.Millisecond)
	require.Empty(t, f.text)
}

func TestStatusOfAGuestThatLies(t *testing.T) {
	m := &agentv1.Status{EngineVersion: strings.Repeat("v", 10_000), EngineApi: "1\n2"}
	for range 100 {
		m.Services = append(m.Services, &agentv1.Service{
			Name: "dockerd", State: agentv1.ServiceState_SERVICE_STATE_READY, Detail: strings.Repeat("d\n\x00", 10_000), Restarts: 1 << 31,
		})
	}
	m.Services[0].Name = "../x"
	m.Services[1].State = 77
	g := toStatus(m)
	require.Len(t, g.Services, maxServices)
	require.Len(t, g.EngineVersion, maxWord)
	require.Equal(t, "1?2", g.EngineAPI)
	for _, s := range g.Services {
		require.Equal(t, "dockerd", s.Name)
		require.LessOrEqual(t, len(s.Detail), maxDetail)
		require.NotContains(t, s.Detail, "\x00")
	}
}
