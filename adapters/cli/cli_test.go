package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

// world is what the commands meet in a test.
type world struct {
	dir      string
	running  bool
	spawnErr error
	stopped  int
	boot     fakeBoot
	docker   fakeDocker
	keys     Overrides // of the last command
	config   *fakeConfig
	facts    []Fact
	stdout   *syncBuffer
	stderr   *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type fakeBoot struct {
	err   error
	steps []domain.AssetProgress
}

func (b *fakeBoot) Prefetch(_ context.Context, _ bool, progress func(domain.AssetProgress)) error {
	for _, s := range b.steps {
		progress(s)
	}
	return b.err
}

func (b *fakeBoot) Status(context.Context, bool) (BootStatus, error) {
	return BootStatus{Version: "1.2.3", Arch: "x86_64", Cached: true}, b.err
}
func (b *fakeBoot) List(context.Context) ([]string, error)  { return []string{"1.2.2", "1.2.3"}, b.err }
func (b *fakeBoot) Clear(context.Context) ([]string, error) { return nil, b.err }

type fakeDocker struct{ current bool }

func (d *fakeDocker) Enable() error  { d.current = true; return nil }
func (d *fakeDocker) Disable() error { d.current = false; return nil }
func (d *fakeDocker) Status() (DockerStatus, error) {
	return DockerStatus{ContextExists: true, Current: d.current, SocketPath: "/d/run/docker.sock"}, nil
}

func (w *world) Run(context.Context, bool, func(Settings)) error { return nil }
func (w *world) Spawn(context.Context, []string, func(context.Context) bool) (int, error) {
	return 4711, w.spawnErr
}
func (w *world) Stop(context.Context, bool) (bool, error) { w.stopped++; return w.running, nil }
func (w *world) Probe() (int, bool, error) {
	if w.running {
		return 4711, true, nil
	}
	return 0, false, nil
}
func (w *world) Path(component string) string { return filepath.Join(w.dir, component+".log") }
func (w *world) Tail(component string, n int) ([]string, error) {
	data, err := os.ReadFile(w.Path(component))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return lines[max(0, len(lines)-n):], err
}

func newWorld(t *testing.T) *world {
	dir, err := os.MkdirTemp("", "cli") //nolint:usetesting // short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &world{dir: dir, config: &fakeConfig{}}
}

func (w *world) deps() Deps {
	w.stdout, w.stderr = &syncBuffer{}, &syncBuffer{}
	note := func(o Overrides) { w.keys = o }
	return Deps{
		Build: Build{Version: "1.0.0", Commit: "abc"},
		Settings: func(o Overrides) (Settings, error) {
			note(o)
			if o["vm.boot"] == "lazy" {
				return Settings{}, fmt.Errorf("vm.boot = lazy: %w", domain.ErrInvalid)
			}
			return Settings{DataDir: w.dir, DockerSocket: filepath.Join(w.dir, "docker.sock"), GRPCSocket: filepath.Join(w.dir, "arcbox.sock")}, nil
		},
		Daemon: func(Overrides) (Daemon, error) { return w, nil },
		Boot:   func(o Overrides) (Boot, error) { note(o); return &w.boot, nil },
		Docker: func(Overrides) (DockerContext, error) { return &w.docker, nil },
		Logs:   func(Overrides) (Logs, error) { return w, nil },
		Config: func(Overrides) Config { return w.config },
		Host:   func(Overrides) (Host, error) { return w, nil },
		Stdout: w.stdout, Stderr: w.stderr,
	}
}

func (w *world) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	code = Execute(t.Context(), w.deps(), args)
	return code, w.stdout.String(), w.stderr.String()
}

func TestMistakesAreOneLineAndExitTwo(t *testing.T) {
	w := newWorld(t)
	for args, want := range map[string]string{
		"daemno":                 "did you mean daemon?",
		"daemon sttart":          "did you mean start",
		"version extra":          "arcbox version takes no argument",
		"status --format xml":    "want table, json, quiet or go-template=TEMPLATE",
		"logs -c kernle":         "want daemon, agent, dockerd, containerd, kernel",
		"logs -n -1":             "want 0 or more",
		"status --wrong":         "unknown flag: --wrong; see arcbox status --help",
		"daemon start --wiat":    "did you mean --wait?",
		"config get vm.cpu":      `did you mean "vm.cpus"?`,
		"config set vm.cpus":     "wants a KEY and a VALUE",
		"config set vm.cpus 1 2": "vm.cpus has one value, got 2",
		"config lst":             "did you mean list",
		"daemon start --wait -f": "[foreground wait] were all set",
	} {
		code, stdout, stderr := w.run(t, strings.Fields(args)...)
		require.Equal(t, ExitUsage, code, args)
		require.Empty(t, stdout, args)
		require.Contains(t, stderr, want, args)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.True(t, strings.HasPrefix(stderr, "arcbox: "), stderr)
	}
}

func TestDaemonStatusWithoutADaemon(t *testing.T) {
	w := newWorld(t)
	code, stdout, _ := w.run(t, "daemon", "status", "--format", "json")
	require.Equal(t, ExitNotRunning, code)
	var st map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &st))
	require.Equal(t, "stopped", st["state"])
	for _, key := range []string{"pid", "phase", "state", "uptime_seconds", "docker_socket", "grpc_socket"} {
		require.Contains(t, st, key)
	}
	code, _, stderr := w.run(t, "status")
	require.Equal(t, ExitNotRunning, code)
	require.Equal(t, "arcbox: the daemon is not running (arcbox daemon start)\n", stderr)
}

// setup serves one scripted start of a daemon.
type setup struct {
	arcboxv1.UnimplementedSystemServiceServer
	updates []*arcboxv1.SetupStatus
	pruned  func(*arcboxv1.PruneRequest) (*arcboxv1.PruneResponse, error)
}

func (s *setup) Ping(context.Context, *arcboxv1.SystemPingRequest) (*arcboxv1.SystemPingResponse, error) {
	return &arcboxv1.SystemPingResponse{}, nil
}

func (s *setup) GetInfo(context.Context, *arcboxv1.GetInfoRequest) (*arcboxv1.GetInfoResponse, error) {
	return &arcboxv1.GetInfoResponse{Pid: 4711, Version: "1.0.0", Setup: s.updates[len(s.updates)-1], DockerSocket: "/d/docker.sock",
		Vms: []*arcboxv1.VmInfo{{Machine: "default", State: "running", Accelerator: "tcg", AcceleratorReason: "no /dev/kvm"}}}, nil
}

func (s *setup) WatchSetupStatus(_ *arcboxv1.WatchSetupStatusRequest, out grpc.ServerStreamingServer[arcboxv1.SetupStatus]) error {
	for _, u := range s.updates {
		if err := out.Send(u); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) serve(t *testing.T, updates ...*arcboxv1.SetupStatus) {
	t.Helper()
	server := grpc.NewServer()
	arcboxv1.RegisterSystemServiceServer(server, &setup{updates: updates})
	l := listenUnix(t, filepath.Join(w.dir, "arcbox.sock"))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
}

func TestStartWaitsAndShowsThePhases(t *testing.T) {
	w := newWorld(t)
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_VM_STARTING, Message: "starting the virtual machine"},
		&arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_READY})
	code, stdout, stderr := w.run(t, "daemon", "start", "--wait", "--boot", "eager")
	require.Equal(t, ExitOK, code, stderr)
	require.Contains(t, stderr, "VM_STARTING")
	require.Contains(t, stderr, "READY")
	require.Contains(t, stdout, "unix://"+filepath.Join(w.dir, "docker.sock"))
	require.Equal(t, "eager", w.keys["vm.boot"])

	w.spawnErr = domain.ErrAlreadyRunning
	code, _, stderr = w.run(t, "daemon", "start", "--wait")
	require.Equal(t, ExitOK, code, "waiting for the daemon that runs already")
	require.Contains(t, stderr, "runs already")
	code, _, _ = w.run(t, "daemon", "start")
	require.Equal(t, ExitError, code)
}

func TestAStartThatFailsSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_FAILED, Error: "checksum mismatch"})
	code, _, stderr := w.run(t, "daemon", "start", "--wait")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "checksum mismatch")

	w = newWorld(t)
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_INITIALIZING})
	code, _, stderr = w.run(t, "daemon", "start", "--wait")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "the daemon ended while it started")

	code, _, stderr = w.run(t, "daemon", "start", "--boot", "lazy")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "vm.boot = lazy")
}

func TestWaitingForADegradedDaemonStartsItsMachineAgain(t *testing.T) {
	w := newWorld(t)
	w.spawnErr = domain.ErrAlreadyRunning
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_DEGRADED, Error: "no boot"})
	answers := []string{"HTTP/1.1 503 x\r\nContent-Length: 26\r\n\r\n{\"message\":\"still broken\"}", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"}
	l := listenUnix(t, filepath.Join(w.dir, "docker.sock"))
	defer l.Close()
	go func() {
		for _, a := range answers {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadAtLeast(c, make([]byte, 4096), 1)
			_, _ = io.WriteString(c, a)
			_ = c.Close()
		}
	}()
	code, _, stderr := w.run(t, "daemon", "start", "--wait")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "still broken")
	_, _, stderr = w.run(t, "daemon", "start", "--wait")
	require.NotContains(t, stderr, "still broken", "the request was served")
}

func TestStatusShowsMachineAndReason(t *testing.T) {
	w := newWorld(t)
	w.running = true
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_READY})
	code, stdout, _ := w.run(t, "daemon", "status", "--format", "json")
	require.Equal(t, ExitOK, code)
	var st daemonState
	require.NoError(t, json.Unmarshal([]byte(stdout), &st))
	require.Equal(t, "READY", st.Phase)
	require.Equal(t, "running", st.State)
	code, stdout, _ = w.run(t, "status", "--format", "json")
	require.Equal(t, ExitOK, code)
	require.Contains(t, stdout, `"accelerator_reason"`)
	require.True(t, json.Valid([]byte(stdout)))
}

func TestPrefetchAsJSONLines(t *testing.T) {
	w := newWorld(t)
	w.boot.steps = []domain.AssetProgress{{Phase: domain.AssetDownloading, Name: "dockerd", Current: 1, Total: 1, Done: 50, TotalSize: 100},
		{Phase: domain.AssetReady, Name: "dockerd", Current: 1, Total: 1, Done: 100, TotalSize: 100}}
	code, stdout, _ := w.run(t, "boot", "prefetch", "--format", "json", "--asset-version", "9.9.9")
	require.Equal(t, ExitOK, code)
	require.Equal(t, "9.9.9", w.keys["assets.version"])
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"phase":"downloading","name":"dockerd","current":1,"total":1,"downloaded_bytes":50,"total_bytes":100,"percent":50}`, lines[0])
	require.Contains(t, lines[2], `"complete"`)

	w.boot.err = fmt.Errorf("dockerd: %w", domain.ErrChecksum)
	code, stdout, stderr := w.run(t, "boot", "prefetch", "--format", "json")
	require.Equal(t, ExitError, code)
	require.Contains(t, stdout, `"phase":"error"`)
	require.Contains(t, stderr, "dockerd: checksum mismatch")

	w.boot.err, w.running = nil, true
	code, _, stderr = w.run(t, "boot", "clear")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "arcbox daemon stop", "files in use are not removed")
}

func TestDockerContextCommands(t *testing.T) {
	w := newWorld(t)
	code, stdout, _ := w.run(t, "docker", "enable", "--format", "json")
	require.Equal(t, ExitOK, code)
	require.Contains(t, stdout, `"is_default": true`)
	_, _, stderr := w.run(t, "docker", "disable")
	require.Empty(t, stderr)
	_, _, stderr = w.run(t, "docker", "disable")
	require.Contains(t, stderr, "nothing changed")
}

func TestLogsFollowsAcrossRotation(t *testing.T) {
	w := newWorld(t)
	code, _, stderr := w.run(t, "logs", "-c", "dockerd")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "no log of dockerd")

	path := w.Path("dockerd")
	require.NoError(t, os.WriteFile(path, []byte("one\ntwo\n"), 0o600))
	_, stdout, _ := w.run(t, "logs", "-c", "dockerd", "-n", "1")
	require.Equal(t, "two\n", stdout)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deps := w.deps()
	ended := make(chan int, 1)
	go func() { ended <- Execute(ctx, deps, []string{"logs", "-f", "-c", "dockerd", "-n", "1"}) }()
	see := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { return w.stdout.String() == want }, 10*time.Second, 10*time.Millisecond, "%q", want)
	}
	see("two\n")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(f, "three\nhal")
	require.NoError(t, err)
	see("two\nthree\n")
	_, err = io.WriteString(f, "f\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	see("two\nthree\nhalf\n")
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, os.WriteFile(path, []byte("fresh\n"), 0o600))
	see("two\nthree\nhalf\nfresh\n")
	cancel()
	require.Equal(t, ExitOK, <-ended, "Ctrl-C ends following, it is no error")
}

func TestEveryCommandHasHelp(t *testing.T) {
	w := newWorld(t)
	var walk func(args []string)
	walk = func(args []string) {
		code, stdout, stderr := w.run(t, append(args, "--help")...)
		require.Equal(t, ExitOK, code, stderr)
		require.Contains(t, stdout, "Usage:", args)
		for _, line := range strings.Split(stdout, "\n") {
			fields := strings.Fields(line)
			if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && len(fields) > 1 &&
				fields[0] != "help" && fields[0] != "arcbox" && !strings.HasPrefix(fields[0], "-") && strings.Contains(stdout, "Available Commands:\n") &&
				strings.Index(stdout, line) > strings.Index(stdout, "Available Commands:") && strings.Index(stdout, line) < strings.Index(stdout, "Flags:") {
				walk(append(append([]string{}, args...), fields[0]))
			}
		}
	}
	walk(nil)
}
