package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const peer = "e2e/peer"

// peerProgram builds test/netpeer once.
var peerProgram = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "arcbox-netpeer-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "netpeer")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", file, "arcbox/test/netpeer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("netpeer: %w: %s", err, out)
	}
	return os.ReadFile(file)
})

// loadPeer puts the image of the other end of network tests into the engine.
func (d *daemon) loadPeer(t *testing.T) {
	t.Helper()
	if out, err := d.docker(t.Context(), "images", "-q", peer); err == nil && out != "" {
		return
	}
	program, err := peerProgram()
	require.NoError(t, err)
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "netpeer", Mode: 0o755, Size: int64(len(program))}))
	_, err = w.Write(program)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	cmd := d.command(t.Context(), "docker", "import", "-c", `ENTRYPOINT ["/netpeer"]`, "-", peer)
	cmd.Stdin = &root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// freePort returns a port of the host that nobody has, for TCP and UDP.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// lanAddress is an address of the host that is not loopback.
func lanAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this host has no address beside loopback")
	return ""
}

// dial connects to a port of the host and gives the connection a deadline.
func dial(t *testing.T, network, host, port string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, net.JoinHostPort(host, port), 5*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

// refuses says that nobody listens there.
func refuses(host, port string) error {
	if c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s:%s takes connections", host, port)
	}
	return nil
}

// exchange sends text, ends the sending side, and returns all of the answer.
func exchange(t *testing.T, host, port, text string) string {
	t.Helper()
	c := dial(t, "tcp", host, port)
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(answer)
}

// ask sends one datagram and returns the answer.
func ask(t *testing.T, host, port, text string) string {
	t.Helper()
	c := dial(t, "udp", host, port)
	return askOn(t, c, text)
}

func askOn(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	for range 10 { // a datagram may be lost while the container starts
		_, err := io.WriteString(c, text)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		if n, err := c.Read(buf); err == nil {
			return string(buf[:n])
		}
	}
	t.Fatalf("no answer from %s", c.RemoteAddr())
	return ""
}
