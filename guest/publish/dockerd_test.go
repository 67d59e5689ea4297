//go:build linux

package publish

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
	"arcbox/guest/publish/wire"
)

func TestMain(m *testing.M) {
	// Built once, because it takes seconds.
	dir, err := os.MkdirTemp("", "arcbox-proxy")
	if err != nil {
		panic(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "arcbox-proxy"), "arcbox/cmd/arcbox-proxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	os.Setenv("ARCBOX_TEST_PROXY", filepath.Join(dir, "arcbox-proxy"))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// agent serves proxies for one test.
func agent(t *testing.T) (*Server, *Broker) {
	t.Helper()
	s := &Server{Path: filepath.Join(t.TempDir(), "run/publish.sock"), Broker: NewBroker(), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	require.Eventually(t, func() bool { _, err := os.Stat(s.Path); return err == nil }, 5*time.Second, time.Millisecond)
	return s, s.Broker
}

// host answers what the broker asks until the test ends it, and records it.
type host struct {
	mu        sync.Mutex
	open      map[string]domain.ForwardRule
	snapshots [][]Lease
	end       func()
}

// attach connects a host that refuses with what refuse returns.
func attach(t *testing.T, b *Broker, refuse func(domain.ForwardRule) string) *host {
	h := &host{open: map[string]domain.ForwardRule{}}
	ctx, cancel := context.WithCancel(context.Background())
	stream := b.Attach()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stream.Close()
		for {
			e, err := stream.Next(ctx)
			if err != nil {
				return
			}
			h.mu.Lock()
			switch e := e.(type) {
			case Snapshot:
				h.snapshots = append(h.snapshots, e.Leases)
				for _, l := range e.Leases {
					h.open[l.ID] = l.Rule
				}
			case Bind:
				text := ""
				if refuse != nil {
					text = refuse(e.Lease.Rule)
				}
				if text == "" {
					h.open[e.Lease.ID] = e.Lease.Rule
				}
				if text != "silence" {
					stream.Answer(e.Lease.ID, text)
				}
			case Release:
				delete(h.open, e.ID)
				stream.Released(e.ID)
			}
			h.mu.Unlock()
		}
	})
	h.end = func() { cancel(); wg.Wait() }
	t.Cleanup(h.end)
	return h
}

func (h *host) rules() []domain.ForwardRule {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []domain.ForwardRule
	for _, r := range h.open {
		out = append(out, r)
	}
	return out
}

// proxy is one that was started as dockerd does it (moby,
// daemon/libnetwork/portmapper/proxy_linux.go): arguments, descriptors 3 and 4,
// one read of two bytes, SIGINT.
type proxy struct {
	cmd    *exec.Cmd
	status *os.File
}

func startProxy(t *testing.T, s *Server, socket *os.File, args ...string) *proxy {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(os.Getenv("ARCBOX_TEST_PROXY"), args...)
	cmd.Env = []string{wire.SocketEnv + "=" + s.Path}
	cmd.ExtraFiles = []*os.File{w}
	if socket != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, cmd.Start())
	_ = w.Close()
	p := &proxy{cmd, r}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = r.Close() })
	return p
}

func tcpArgs(hostIP, hostPort, ip, port string) []string {
	return []string{"-proto", "tcp", "-host-ip", hostIP, "-host-port", hostPort, "-container-ip", ip, "-container-port", port, "-use-listen-fd"}
}

// await is dockerd's view of a start.
func (p *proxy) await() error {
	_ = p.status.SetReadDeadline(time.Now().Add(16 * time.Second))
	buf := make([]byte, 2)
	if _, err := p.status.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("timed out starting the userland proxy")
	}
	if string(buf) == "0\n" {
		return nil
	}
	rest, err := io.ReadAll(p.status)
	if err != nil {
		return err
	}
	if buf[0] == 0 && len(rest) == 0 {
		return errors.New("failed to start docker-proxy, check that the current version is in your $PATH")
	}
	return errors.New("error starting userland proxy: " + string(rest))
}

// stop is dockerd's: SIGINT, and a wait without a limit.
func (p *proxy) stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// listenAs binds a port as dockerd does and returns it as a file.
func listenAs(t *testing.T, addr string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	f, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	_, p, _ := strings.Cut(l.Addr().String(), "]:")
	if p == "" {
		_, p, _ = strings.Cut(l.Addr().String(), ":")
	}
	require.NoError(t, l.Close())
	return f, p
}
