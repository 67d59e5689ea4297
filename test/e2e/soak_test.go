package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakEnv sets how long the soak takes; a minute without it.
const soakEnv = "ARCBOX_TEST_SOAK"

// TestSoak has two processors under traffic in both directions while netfilter
// rules come and go: what once panicked a kernel that patches its own text.
func TestSoak(t *testing.T) {
	length := time.Minute
	if s := os.Getenv(soakEnv); s != "" {
		var err error
		length, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const size = 8 << 20
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.CopyN(w, zeros{}, size)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	// Down: the answer; up: a body of the same size.
	script := fmt.Sprintf(`head -c %d /dev/zero > /tmp/body
n=0; while :; do wget -q -O /dev/null --post-file /tmp/body http://host.docker.internal:%s/ || exit 1; n=$((n+1)); echo $n; done`, size, port)
	var traffic []string
	for range 2 {
		traffic = append(traffic, started(t, demo, "sh", "-c", script))
	}
	rounds := 0
	for deadline := time.Now().Add(length); time.Now().Before(deadline); rounds++ {
		network := fmt.Sprintf("soak-%d", rounds)
		docker(t, "network", "create", network)
		id := strings.TrimSpace(docker(t, "run", "-d", "--network", network, "-p", "18080:80", demo, "httpd", "-f", "-p", "80"))
		docker(t, "run", "--rm", "--network", network, demo, "true")
		docker(t, "rm", "-f", id)
		docker(t, "network", "rm", network)
	}
	for _, id := range traffic {
		require.Equal(t, "true\n", docker(t, "inspect", "-f", "{{.State.Running}}", id), "its traffic never failed")
		lines := strings.Fields(docker(t, "logs", "--tail", "1", id))
		require.NotEmpty(t, lines)
		t.Logf("%s transfers of %d MiB each way", lines[0], size>>20)
	}
	require.Positive(t, rounds)
	console, err := shared.arcbox(t.Context(), "logs", "-c", "kernel", "-n", "100000")
	require.NoError(t, err)
	for _, bad := range []string{"Kernel panic", "BUG:", "Oops", "int3:", "double fault"} {
		require.NotContains(t, console, bad)
	}
	t.Logf("%d networks with a published port came and went in %s", rounds, length)
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
