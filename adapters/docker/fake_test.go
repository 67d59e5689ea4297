package docker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngines is the use-case behind the socket: a machine that is up or down
// and boots as told.
type fakeEngines struct {
	mu     sync.Mutex
	engine *fakeEngine // nil: down
	boot   func(ctx context.Context) (*fakeEngine, error)
	known  domain.EngineInfo
	boots  atomic.Int32
	held   atomic.Int32
	holds  atomic.Int32
}

func (f *fakeEngines) EnsureReady(ctx context.Context, role domain.Role) (port.Engine, error) {
	if e, ok := f.Peek(role); ok {
		return e, nil
	}
	f.boots.Add(1)
	f.mu.Lock()
	boot := f.boot
	f.mu.Unlock()
	if boot == nil {
		return nil, domain.ErrNotRunning
	}
	e, err := boot(ctx)
	if err != nil {
		return nil, err
	}
	f.set(e)
	return e, nil
}

func (f *fakeEngines) Peek(domain.Role) (port.Engine, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.engine == nil {
		return nil, false
	}
	return f.engine, true
}

func (f *fakeEngines) Known(domain.Role) domain.EngineInfo { return f.known }

func (f *fakeEngines) Hold(domain.Role) func() {
	f.held.Add(1)
	f.holds.Add(1)
	return func() { f.held.Add(-1) }
}

func (f *fakeEngines) set(e *fakeEngine) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.engine = e
}

// breakDown stops the machine for good.
func (f *fakeEngines) breakDown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.engine, f.boot = nil, nil
}

// fakeEngine is an engine on a real Unix socket.
type fakeEngine struct {
	generation uint64
	path       string
	gone       chan struct{}
	dials      atomic.Int32
}

func (e *fakeEngine) Generation() uint64    { return e.generation }
func (e *fakeEngine) Gone() <-chan struct{} { return e.gone }
func (e *fakeEngine) Dial(ctx context.Context) (port.Stream, error) {
	e.dials.Add(1)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", e.path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// rawEngine serves each connection with handle.
func rawEngine(t testing.TB, generation uint64, handle func(*net.UnixConn)) *fakeEngine {
	t.Helper()
	e := &fakeEngine{generation: generation, path: filepath.Join(t.TempDir(), "engine.sock"), gone: make(chan struct{})}
	l, err := net.Listen("unix", e.path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				handle(conn.(*net.UnixConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return e
}

// httpEngine serves with net/http, as dockerd does.
func httpEngine(t testing.TB, generation uint64, h http.Handler) *fakeEngine {
	t.Helper()
	e := &fakeEngine{generation: generation, path: filepath.Join(t.TempDir(), "engine.sock"), gone: make(chan struct{})}
	l, err := net.Listen("unix", e.path)
	require.NoError(t, err)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: protocols, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return e
}

// serve runs a server in front of engines until the test ends.
func serve(t testing.TB, engines port.Engines, opts Options) *Server {
	t.Helper()
	if opts.Path == "" {
		opts.Path = filepath.Join(t.TempDir(), "docker.sock")
	}
	s := NewServer(opts, engines)
	require.NoError(t, s.Listen())
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("connections were left: %v", err)
		}
		require.NoError(t, <-served)
		require.Zero(t, s.Stats().ActiveConnections)
		require.Zero(t, s.Stats().ActiveRequests)
		if fake, ok := engines.(*fakeEngines); ok {
			require.Zero(t, fake.held.Load(), "each hold is released once")
		}
	})
	return s
}

func dial(t testing.TB, s *Server) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.opts.Path, Net: "unix"})
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// httpClient talks over the socket; it is closed with the test.
func httpClient(t testing.TB, path string) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 1000, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func send(t testing.TB, c io.Writer, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(t, err)
}

// readResponse reads one response with net/http's parser.
func readResponse(t testing.TB, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}

// requireEnd says that the peer closed without another byte.
func requireEnd(t testing.TB, r io.Reader) {
	t.Helper()
	b, err := io.ReadAll(r)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		require.NoError(t, err)
	}
	require.Empty(t, string(b))
}

func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd here")
	}
	return len(list)
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 5*time.Second, 2*time.Millisecond, what)
}

func bootsTo(e *fakeEngine) func(context.Context) (*fakeEngine, error) {
	return func(context.Context) (*fakeEngine, error) { return e, nil }
}
