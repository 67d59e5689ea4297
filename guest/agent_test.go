//go:build linux

package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/adapters/agent"
	"arcbox/api/stream"
	"arcbox/application/port"
	"arcbox/domain"
	"arcbox/guest"
	"arcbox/guest/clock"
	"arcbox/guest/configure"
	"arcbox/guest/engine"
	"arcbox/guest/logring"
	"arcbox/guest/reap"
	"arcbox/guest/supervisor"
)

const fakeDockerd = "ARCBOX_TEST_DOCKERD"

// TestMain is a dockerd when a test starts it as one.
func TestMain(m *testing.M) {
	if socket := os.Getenv(fakeDockerd); socket != "" {
		_ = os.Remove(socket)
		l, err := net.Listen("unix", socket)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("API listen on", socket)
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Version":"29.8.0","ApiVersion":"1.56"}`))
		})
		go func() { _ = http.Serve(l, mux) }()
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end
		fmt.Println("going down in order")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// vm stands for a machine: its vsock ports are Unix sockets in a directory.
type vm struct {
	dir string

	mu     sync.Mutex
	stones []string
	clock  time.Time
	done   chan error
	cancel context.CancelFunc
	ended  bool
}

func (v *vm) path(p uint32) string { return filepath.Join(v.dir, fmt.Sprint(p)) }

func (v *vm) Dial(ctx context.Context, p uint32) (port.Stream, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", v.path(p))
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func (v *vm) Now() time.Time { v.mu.Lock(); defer v.mu.Unlock(); return v.clock }
func (v *vm) Set(t time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.clock = t
	return nil
}

func (v *vm) milestone(s string) { v.mu.Lock(); defer v.mu.Unlock(); v.stones = append(v.stones, s) }

// noMounts makes directories only.
type noMounts struct{}

func (noMounts) Tag(_, target string) error {
	return os.MkdirAll(filepath.Join(target, "0/src"), 0o755)
}
func (noMounts) Bind(string, string, bool) error { return nil }
func (noMounts) Unmount(string) error            { return nil }

// boot starts the real agent with a fake dockerd, which waits for the host.
func (v *vm) boot(t *testing.T, prepare func(context.Context) error) {
	t.Helper()
	logs := logring.New()
	host := configure.New(configure.Config{Root: v.dir, Dir: filepath.Join(v.dir, "shares"), Mounts: noMounts{}, Log: slog.New(slog.DiscardHandler)})
	socket := filepath.Join(v.dir, "docker.sock")
	a := guest.New(guest.Config{
		Hello:  domain.AgentHello{Protocol: domain.AgentProtocol, Version: "1.0.0", Build: "b", BootID: "boot-1", Kernel: "6.12"},
		Listen: func(p uint32) (net.Listener, error) { return net.Listen("unix", v.path(p)) },

		DockerPort: domain.PortDocker, DockerSocket: socket, PublishSocket: filepath.Join(v.dir, "publish.sock"),
		SocketDir: filepath.Join(v.dir, "sockets"), OffersFile: filepath.Join(v.dir, "disk", "host-sockets.json"),
		Host: host, TouchAs: func() error { return nil },
		PrepareDisk: prepare,
		DiskUsage:   func() (domain.DiskUsage, error) { return domain.DiskUsage{Total: 64 << 30, Free: 32 << 30}, nil },
		Services: func(set func(engine.Version)) []supervisor.Spec {
			return []supervisor.Spec{{
				Name: engine.Dockerd,
				Hold: &supervisor.Hold{Over: host.First(), What: "the host's configuration", Patience: time.Minute},
				Command: func() *exec.Cmd {
					cmd := exec.Command(os.Args[0])
					cmd.Env = append(os.Environ(), fakeDockerd+"="+socket)
					return cmd
				},
				Ready: func(ctx context.Context) error {
					got, err := engine.DockerdReady(ctx, socket)
					if err == nil {
						set(got)
					}
					return err
				},
				ReadyTimeout: 10 * time.Second, StopTimeout: 5 * time.Second,
			}}
		},
		Pause:     supervisor.Pause{First: 10 * time.Millisecond, Last: time.Second, Healthy: time.Minute},
		Starter:   reap.New(),
		Clock:     clock.New(v),
		Logs:      logs,
		Log:       slog.New(slog.NewTextHandler(logs.Writer("agent"), nil)),
		Milestone: v.milestone,
	})
	ctx, cancel := context.WithCancel(context.Background())
	v.cancel, v.done = cancel, make(chan error, 1)
	go func() { v.done <- a.Run(ctx) }()
	t.Cleanup(func() { v.wait(t) })
}

// wait ends the agent, if the test has not, and waits for it.
func (v *vm) wait(t *testing.T) {
	if v.ended {
		return
	}
	v.ended = true
	v.cancel()
	select {
	case err := <-v.done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end")
	}
}

// files keeps logs in a directory, one file each.
type files struct{ dir string }

func (f files) Writer(_ domain.MachineName, component string) (io.WriteCloser, error) {
	return os.OpenFile(filepath.Join(f.dir, component), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
func (f files) Tail(domain.MachineName, string, int) ([]string, error) {
	return nil, errors.ErrUnsupported
}
func (f files) Path(_ domain.MachineName, component string) string {
	return filepath.Join(f.dir, component)
}

func connect(t *testing.T, v *vm) (port.AgentSession, files) {
	t.Helper()
	f := files{t.TempDir()}
	agents := agent.New(agent.Config{Version: "test", Logs: f, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := agents.Connect(ctx, "default", v, time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, f
}

func await(t *testing.T, s port.AgentSession, what string, ok func(domain.GuestStatus) bool) domain.GuestStatus {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		status, changed := s.Status()
		if ok(status) {
			return status
		}
		select {
		case <-changed:
		case <-s.Done():
			t.Fatalf("%s: session lost: %v; last status %+v", what, s.Err(), status)
		case <-limit:
			t.Fatalf("%s: not in time; last status %+v", what, status)
		}
	}
}

func noDisk(context.Context) error { return nil }

func TestHostAndAgentTogether(t *testing.T) {
	v := &vm{dir: t.TempDir()}
	v.boot(t, noDisk)
	s, logs := connect(t, v)
	status := await(t, s, "engine held", func(g domain.GuestStatus) bool {
		d, _ := g.Service(engine.Dockerd)
		return d.Detail == "waits for the host's configuration"
	})
	require.False(t, status.EngineReady)
	share := filepath.Join(v.dir, "home/me")
	require.NoError(t, s.Configure(t.Context(), domain.GuestConfig{Shares: []domain.Share{{Path: share}},
		Sockets: []domain.GuestSocket{{Service: domain.SSHAgentService, Path: filepath.Join(v.dir, "ssh.sock")}}}))
	require.DirExists(t, share)
	ssh, err := net.Dial("unix", filepath.Join(v.dir, "ssh.sock"))
	require.NoError(t, err)
	require.NoError(t, ssh.Close())
	require.NoError(t, os.WriteFile(filepath.Join(v.dir, "shares/0/src/gone"), nil, 0o644))
	require.NoError(t, s.(port.Toucher).Touch(t.Context(), []domain.PathChange{{Path: share + "/src/gone", Removed: true}}))
	require.NoFileExists(t, filepath.Join(v.dir, "shares/0/src/gone"))
	require.Equal(t, domain.AgentHello{Protocol: domain.AgentProtocol, Version: "1.0.0", Build: "b", BootID: "boot-1", Kernel: "6.12"}, s.Hello())
	require.WithinDuration(t, time.Now(), v.Now(), time.Minute, "hello sets the clock")

	status = await(t, s, "engine ready", func(g domain.GuestStatus) bool { return g.EngineReady })
	require.Equal(t, "29.8.0", status.EngineVersion)
	require.Equal(t, "1.56", status.EngineAPI)
	disk, ok := status.Service(guest.DataDisk)
	require.True(t, ok)
	require.Equal(t, domain.ServiceReady, disk.State)
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join(logs.dir, engine.Dockerd))
		return err == nil && strings.Contains(string(b), "API listen on")
	}, 5*time.Second, 5*time.Millisecond, "its log must be on the host")

	// The Docker port reaches it.
	c, err := v.Dial(t.Context(), domain.PortDocker)
	require.NoError(t, err)
	_, err = c.Write([]byte("GET /version HTTP/1.0\r\n\r\n"))
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "29.8.0")
	require.NoError(t, c.Close())

	// So does the stream port reach what listens on loopback.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	st, err := v.Dial(t.Context(), domain.PortStream)
	require.NoError(t, err)
	header, err := stream.Header{Network: stream.NetworkTCP, Address: l.Addr().String()}.Append(nil)
	require.NoError(t, err)
	_, err = st.Write(header)
	require.NoError(t, err)
	one := make([]byte, 1)
	_, err = io.ReadFull(st, one)
	require.NoError(t, err)
	require.Equal(t, stream.StatusOK, stream.Status(one[0]))
	require.NoError(t, st.Close())

	begin := time.Now()
	require.NoError(t, s.Shutdown(t.Context(), 10*time.Second))
	<-s.Done()
	require.ErrorIs(t, s.Err(), domain.ErrAgentLost)
	v.wait(t)
	require.Less(t, time.Since(begin), 8*time.Second)
	b, err := os.ReadFile(filepath.Join(logs.dir, engine.Dockerd))
	require.NoError(t, err)
	require.Contains(t, string(b), "going down in order")
}

func TestACrashOfTheEngineIsPushedAndRepaired(t *testing.T) {
	v := &vm{dir: t.TempDir()}
	v.boot(t, noDisk)
	s, _ := connect(t, v)
	require.NoError(t, s.Configure(t.Context(), domain.GuestConfig{}))
	await(t, s, "ready", func(g domain.GuestStatus) bool { return g.EngineReady })
	// Somebody kills dockerd from outside.
	out, err := exec.Command("sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/environ 2>/dev/null | grep -q '^"+fakeDockerd+"="+v.dir+"/' && kill -9 ${p#/proc/}; done; true").CombinedOutput()
	require.NoError(t, err, string(out))
	status := await(t, s, "restarted", func(g domain.GuestStatus) bool {
		d, _ := g.Service(engine.Dockerd)
		return d.Restarts == 1 && g.EngineReady
	})
	require.Equal(t, "29.8.0", status.EngineVersion)
}

func TestADiskThatIsRefusedIsShownAndKeepsTheEngineDown(t *testing.T) {
	v := &vm{dir: t.TempDir()}
	v.boot(t, func(context.Context) error {
		return domain.WithHint(fmt.Errorf("the data disk holds an NTFS file system: %w", domain.ErrConflict), "wipe it")
	})
	s, _ := connect(t, v)
	status := await(t, s, "refused", func(g domain.GuestStatus) bool {
		d, _ := g.Service(guest.DataDisk)
		return d.State == domain.ServiceFailed
	})
	disk, _ := status.Service(guest.DataDisk)
	require.Contains(t, disk.Detail, "NTFS")
	require.Contains(t, disk.Detail, "wipe it")
	await(t, s, "not started", func(g domain.GuestStatus) bool {
		d, _ := g.Service(engine.Dockerd)
		return d.State == domain.ServiceStopped && !g.EngineReady
	})
	require.NoError(t, s.Shutdown(t.Context(), time.Second), "the machine can still be switched off")
	v.wait(t)
}

func TestShutdownWhileTheDiskIsPrepared(t *testing.T) {
	v := &vm{dir: t.TempDir()}
	begun := make(chan struct{})
	v.boot(t, func(ctx context.Context) error { close(begun); <-ctx.Done(); return ctx.Err() })
	s, _ := connect(t, v)
	<-begun
	require.NoError(t, s.Shutdown(t.Context(), time.Second))
	v.wait(t)
}
