//go:build linux

package guest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
	"arcbox/guest/publish/wire"
)

// hostPorts is a host that opens every port but 99.
type hostPorts struct {
	mu     sync.Mutex
	open   map[string]string // rule by lease
	resets []int
}

func (h *hostPorts) Reset(l []port.ForwardLease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.resets = append(h.resets, len(l))
	h.open = map[string]string{}
	for _, l := range l {
		h.open[l.ID] = l.Rule.String()
	}
}

func (h *hostPorts) Bind(_ context.Context, l port.ForwardLease) error {
	if l.Rule.Host.Port() == 99 {
		return domain.WithHint(fmt.Errorf("%s is taken by nginx: %w", l.Rule.Host, domain.ErrConflict), "stop it")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[l.ID] = l.Rule.String()
	return nil
}

func (h *hostPorts) Release(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, id)
}

func (h *hostPorts) Listeners([]domain.GuestListener) {}

func (h *hostPorts) rules() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range h.open {
		out = append(out, r)
	}
	return out
}

func (h *hostPorts) follow(t *testing.T, s port.AgentSession) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.(port.ForwardSource).Forwards(ctx, h) })
	end = func() { cancel(); wg.Wait() }
	t.Cleanup(end)
	return end
}

// publish starts the proxy as dockerd does, and returns what dockerd reads.
func publish(t *testing.T, program, socket, hostPort string) (stop func() error, answer string) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", hostPort,
		"-container-ip", "172.17.0.2", "-container-port", "80", "-use-listen-fd")
	cmd.Env, cmd.ExtraFiles = []string{wire.SocketEnv + "=" + socket}, []*os.File{w}
	require.NoError(t, cmd.Start())
	_ = w.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = r.Close() })
	_ = r.SetReadDeadline(time.Now().Add(16 * time.Second))
	all, err := io.ReadAll(r)
	require.NoError(t, err)
	return func() error { _ = cmd.Process.Signal(os.Interrupt); return cmd.Wait() }, string(all)
}

func TestPortsFromDockerdToTheHost(t *testing.T) {
	program := filepath.Join(t.TempDir(), "arcbox-proxy")
	out, err := exec.Command("go", "build", "-o", program, "arcbox/cmd/arcbox-proxy").CombinedOutput()
	require.NoError(t, err, string(out))
	v := &vm{dir: t.TempDir()}
	v.boot(t, noDisk)
	s, _ := connect(t, v)
	socket := filepath.Join(v.dir, "publish.sock")

	h := &hostPorts{}
	end := h.follow(t, s)
	stop, answer := publish(t, program, socket, "8080")
	require.Equal(t, "0\n", answer)
	require.Equal(t, []string{"0.0.0.0:8080/tcp -> 172.17.0.2:80"}, h.rules())
	_, answer = publish(t, program, socket, "99")
	require.Equal(t, "1\n0.0.0.0:99 is taken by nginx: "+domain.ErrConflict.Error()+" (stop it)", answer)

	end() // the daemon comes back
	h = &hostPorts{}
	h.follow(t, s)
	require.Eventually(t, func() bool { return len(h.rules()) == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, []int{1}, h.resets)
	require.NoError(t, stop())
	require.Empty(t, h.rules(), "free when the proxy has ended")

	require.NoError(t, s.Shutdown(t.Context(), time.Second))
	v.wait(t)
}
