package e2e

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startRegistry runs an image registry on the host's loopback and returns its port.
func startRegistry(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "registry")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "../registry"
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	cmd := exec.Command(program, t.TempDir())
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	require.NoError(t, err)
	return port
}

func TestPushAndPullThroughARegistryOnTheHost(t *testing.T) {
	name := "host.docker.internal:" + startRegistry(t) + "/e2e/demo:1"
	docker(t, "tag", demo, name)
	t.Cleanup(func() { _, _ = shared.docker(context.WithoutCancel(t.Context()), "rmi", "-f", name) })
	docker(t, "push", name)
	docker(t, "rmi", name)
	require.NotContains(t, docker(t, "images", "--format", "{{.Repository}}:{{.Tag}}"), name)
	docker(t, "pull", name)
	require.Equal(t, "pulled\n", docker(t, "run", "--rm", name, "echo", "pulled"))
	require.ErrorContains(t, refused(t, "pull", strings.TrimSuffix(name, "1")+"absent"), "not found")
}

func TestContainersReachTheHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("host says " + r.URL.Path + "\n"))
	}), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "host says /hello\n",
		docker(t, "run", "--rm", demo, "wget", "-q", "-O", "-", "http://host.docker.internal:"+port+"/hello"))
	require.Contains(t, docker(t, "run", "--rm", demo, "ping", "-c", "1", "-W", "5", "host.docker.internal"), "1 packets received")
	err = refused(t, "run", "--rm", demo, "wget", "-q", "-T", "10", "-O", "-", "http://host.docker.internal:1/")
	require.ErrorContains(t, err, "refused")
}
