package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakEnv is how long the soak lasts, as a duration. Ten minutes are the proof;
// without it a minute shows that nothing obvious broke.
const soakEnv = "ARCBOX_TEST_SOAK"

const (
	soakDefault = time.Minute
	// soakBytes have to go each way. Emulated machines move some ten MiB a
	// second even when the host is busy.
	soakBytes = 50 << 20
	blobBytes = 8 << 20
)

// traffic is what a server on the host saw of a container.
type traffic struct{ up, down atomic.Int64 }

func (c *traffic) serve(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	blob := bytes.Repeat([]byte("arcbox!\n"), blobBytes/8)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blob", func(w http.ResponseWriter, _ *http.Request) {
		n, _ := w.Write(blob)
		c.down.Add(int64(n))
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		c.up.Add(n)
		_, _ = io.WriteString(w, "taken\n")
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// talker moves the blob to and fro until it is killed, or a copy of it differs.
const talker = `set -e
url=http://host.docker.internal:$1
wget -q -O /first $url/blob
while :; do
  wget -q -O /copy $url/blob
  cmp /first /copy
  wget -q -O /answer --post-file=/copy $url/
done`

// TestSoak lets networks, containers and published ports, and so the rules of
// the guest's packet filter, come and go under traffic in both directions. With
// two processors and more that once was enough to panic an emulated guest.
func TestSoak(t *testing.T) {
	lasting := soakDefault
	if v := os.Getenv(soakEnv); v != "" {
		var err error
		lasting, err = time.ParseDuration(v)
		require.NoError(t, err, soakEnv)
	}
	bootID := func() string { return docker(t, "run", "--rm", demo, "cat", "/proc/sys/kernel/random/boot_id") }
	boot := bootID()
	var moved traffic
	busy := started(t, demo, "sh", "-c", talker, "talker", moved.serve(t))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for i := range 2 {
			_, _ = shared.docker(ctx, "rm", "-f", fmt.Sprintf("e2e-soak-%d", i))
			_, _ = shared.docker(ctx, "network", "rm", fmt.Sprintf("e2e-soak-%d", i))
		}
	})

	rounds := 0
	for deadline := time.Now().Add(lasting); time.Now().Before(deadline); rounds++ {
		name := fmt.Sprintf("e2e-soak-%d", rounds%2)
		docker(t, "network", "create", name)
		docker(t, "run", "-d", "--name", name, "--network", name, "-p", "80", "-p", "53/udp", demo, "httpd", "-f", "-p", "80")
		require.Contains(t, docker(t, "port", name), "80/tcp ->")
		if rounds%2 == 0 {
			docker(t, "network", "connect", "bridge", name)
		}
		docker(t, "rm", "-f", name)
		docker(t, "network", "rm", name)
		require.Equal(t, "true\n", docker(t, "inspect", "-f", "{{.State.Running}}", busy), "the traffic goes on: %s", lazyLogs{t, busy})
	}
	t.Logf("%d rounds in %s; %d MiB to the container, %d MiB from it", rounds, lasting, moved.down.Load()>>20, moved.up.Load()>>20)
	// A busy host gets the time that it needs; one that moves nothing fails.
	eventually(t, 2*time.Minute, func() error {
		if up, down := moved.up.Load(), moved.down.Load(); up < soakBytes || down < soakBytes {
			return fmt.Errorf("only %d bytes went up and %d down", up, down)
		}
		return nil
	})
	require.Equal(t, boot, bootID(), "the same run of the machine answers")
	noPanic(t, shared)
}

// lazyLogs is a container's log, read when it is printed.
type lazyLogs struct {
	t  *testing.T
	id string
}

func (l lazyLogs) String() string {
	out, err := shared.docker(l.t.Context(), "logs", "--tail", "20", l.id)
	return fmt.Sprintln(out, err)
}

// noPanic reads the machine's console.
func noPanic(t *testing.T, d *daemon) {
	t.Helper()
	console, err := os.ReadFile(filepath.Join(d.data, "log", "kernel.log"))
	require.NoError(t, err)
	require.Contains(t, string(console), "Linux version")
	for _, line := range strings.Split(string(console), "\n") {
		for _, bad := range []string{"Kernel panic", "BUG:", "Oops", "general protection fault", "soft lockup", "rcu: INFO: rcu_"} {
			require.NotContains(t, line, bad)
		}
	}
}
