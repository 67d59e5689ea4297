package rpc

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
	"arcbox/guest/clock"
	"arcbox/guest/engine"
	"arcbox/guest/hostsockets"
	"arcbox/guest/logring"
	"arcbox/guest/publish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeClock struct{ now atomic.Int64 }

func (f *fakeClock) Now() time.Time        { return time.Unix(0, f.now.Load()) }
func (f *fakeClock) Set(t time.Time) error { f.now.Store(t.UnixNano()); return nil }

type fixture struct {
	hub      *Hub
	logs     *logring.Store
	clock    *fakeClock
	shutdown chan time.Duration
	ports    *publish.Broker
	told     chan domain.GuestConfig
	touched  chan []domain.PathChange
	refuse   error // of Configure and Touch
	sockets  *hostsockets.Server
	client   agentv1.AgentServiceClient
	end      func()
	dir      string
}

func start(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{hub: NewHub(), logs: logring.New(), clock: &fakeClock{}, shutdown: make(chan time.Duration, 2), ports: publish.NewBroker(),
		told: make(chan domain.GuestConfig, 1), touched: make(chan []domain.PathChange, 1)}
	f.dir = t.TempDir()
	f.sockets = hostsockets.New(hostsockets.Config{Dir: f.dir + "/sockets", Exists: func(string) bool { return true }, Log: slog.New(slog.DiscardHandler)})
	s := New(Config{
		Hello: domain.AgentHello{Protocol: domain.AgentProtocol, Version: "1.2.3", Build: "abc", BootID: "boot", Kernel: "6.12"},
		Hub:   f.hub, Logs: f.logs, Clock: clock.New(f.clock), Ports: f.ports, Sockets: f.sockets, Log: slog.New(slog.DiscardHandler),
		Configure: func(c domain.GuestConfig) error { f.told <- c; return f.refuse },
		Touch:     func(_ context.Context, c []domain.PathChange) error { f.touched <- c; return f.refuse },
		Shutdown:  func(d time.Duration) { f.shutdown <- d }, Heartbeat: 20 * time.Millisecond,
	})
	l := bufconn.Listen(1 << 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	conn, err := grpc.NewClient("passthrough:///guest", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	require.NoError(t, err)
	f.client = agentv1.NewAgentServiceClient(conn)
	ended := false
	f.end = func() {
		if !ended {
			ended = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(func() { f.end(); _ = conn.Close() })
	return f
}

func TestHelloSetsTheClockUnlessTheProtocolDiffers(t *testing.T) {
	f := start(t)
	host := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got, err := f.client.Hello(t.Context(), &agentv1.HelloRequest{Protocol: domain.AgentProtocol + 1, HostTimeUnixNano: host.UnixNano()})
	require.NoError(t, err)
	require.Equal(t, domain.AgentProtocol, got.Protocol)
	require.Zero(t, f.clock.now.Load())
	got, err = f.client.Hello(t.Context(), &agentv1.HelloRequest{Protocol: domain.AgentProtocol, HostTimeUnixNano: host.UnixNano()})
	require.NoError(t, err)
	require.Equal(t, []string{"1.2.3", "abc", "boot", "6.12"}, []string{got.Version, got.Build, got.BootId, got.Kernel})
	require.Equal(t, host.UnixNano(), f.clock.now.Load())
}

func TestSetClock(t *testing.T) {
	f := start(t)
	host := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.clock.now.Store(host.Add(-10 * time.Minute).UnixNano())
	got, err := f.client.SetClock(t.Context(), &agentv1.SetClockRequest{HostTimeUnixNano: host.UnixNano()})
	require.NoError(t, err)
	require.Equal(t, 10*time.Minute, time.Duration(got.StepNanos))
	_, err = f.client.SetClock(t.Context(), &agentv1.SetClockRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestWatchPushesChangesAndHeartbeats(t *testing.T) {
	f := start(t)
	f.hub.SetService(domain.ServiceStatus{Name: engine.Dockerd, State: domain.ServiceStarting})
	w, err := f.client.Watch(t.Context(), &agentv1.WatchRequest{})
	require.NoError(t, err)
	first, err := w.Recv()
	require.NoError(t, err)
	require.False(t, first.GetStatus().EngineReady)
	require.Equal(t, agentv1.ServiceState_SERVICE_STATE_STARTING, first.GetStatus().Services[0].State)
	for {
		m, err := w.Recv()
		require.NoError(t, err)
		if m.GetHeartbeat() != nil {
			break
		}
	}
	f.hub.SetRunning(3)
	f.hub.SetEngine(engine.Version{Engine: "29", API: "1.56"})
	f.hub.SetService(domain.ServiceStatus{Name: engine.Dockerd, State: domain.ServiceReady, Restarts: 2})
	for {
		m, err := w.Recv()
		require.NoError(t, err)
		if s := m.GetStatus(); s != nil && s.EngineReady {
			require.Equal(t, "1.56", s.EngineApi)
			require.EqualValues(t, 3, s.RunningContainers)
			require.EqualValues(t, 2, s.Services[0].Restarts)
			break
		}
	}
	f.end()
	for err == nil {
		_, err = w.Recv()
	}
	require.ErrorIs(t, err, io.EOF, "the end of the agent is the end of the stream, not a failure")
}

func TestLogsAreReplayedFromAPositionAndFollowed(t *testing.T) {
	f := start(t)
	f.logs.Append("dockerd", []byte("one"))
	f.logs.Append("dockerd", []byte("two"))
	l, err := f.client.Logs(t.Context(), &agentv1.LogsRequest{Positions: []*agentv1.LogPosition{{Component: "dockerd", Next: 1}}})
	require.NoError(t, err)
	m, err := l.Recv()
	require.NoError(t, err)
	require.Equal(t, "two\n", string(m.Data))
	f.logs.Append("kernel", []byte("three"))
	m, err = l.Recv()
	require.NoError(t, err)
	require.Equal(t, "kernel", m.Component)
	require.Equal(t, "three\n", string(m.Data))
	require.EqualValues(t, 1, m.Next)
}

func TestShutdownBeginsOnceAndIsAnsweredAlthoughTheServerEnds(t *testing.T) {
	f := start(t)
	for range 2 {
		got, err := f.client.Shutdown(t.Context(), &agentv1.ShutdownRequest{GraceSeconds: 7})
		require.NoError(t, err)
		require.True(t, got.Accepted)
	}
	require.Equal(t, 7*time.Second, <-f.shutdown)
	require.Empty(t, f.shutdown)
	_, err := f.client.Shutdown(t.Context(), &agentv1.ShutdownRequest{GraceSeconds: 1 << 31})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestStatusThatWasReadDoesNotChange(t *testing.T) {
	h := NewHub()
	h.SetService(domain.ServiceStatus{Name: "a", State: domain.ServiceStarting})
	before, changed := h.Status()
	h.SetService(domain.ServiceStatus{Name: "a", State: domain.ServiceReady})
	require.Equal(t, domain.ServiceStarting, before.Services[0].State)
	_, open := <-changed
	require.False(t, open)
}

func TestContainersOutliveARestartOfTheirEngine(t *testing.T) {
	h := NewHub()
	h.SetRunning(2)
	h.SetService(domain.ServiceStatus{Name: engine.Dockerd, State: domain.ServiceReady})
	h.SetService(domain.ServiceStatus{Name: engine.Dockerd, State: domain.ServiceStarting, Restarts: 1})
	g, changed := h.Status()
	require.False(t, g.EngineReady)
	require.Equal(t, 2, g.RunningContainers)
	h.SetRunning(2)
	select {
	case <-changed:
		t.Fatal("the same number is no news")
	default:
	}
	h.SetRunning(0)
	<-changed
	g, _ = h.Status()
	require.Zero(t, g.RunningContainers)
}
