package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// compose runs docker compose on a project file.
func (d *daemon) compose(t *testing.T, file string, args ...string) string {
	t.Helper()
	d.plugin(t, "docker-compose")
	out, err := d.docker(t.Context(), append([]string{"compose", "-f", file}, args...)...)
	require.NoError(t, err)
	return out
}

// plugin gives the docker client a plug-in from bin.
func (d *daemon) plugin(t *testing.T, name string) {
	t.Helper()
	link := filepath.Join(d.config, "cli-plugins", name)
	require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o700))
	if _, err := os.Lstat(link); err != nil {
		require.NoError(t, os.Symlink(filepath.Join(d.bin, "cli-plugins", name), link))
	}
}

func project(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	t.Cleanup(func() {
		_, _ = shared.docker(context.WithoutCancel(t.Context()), "compose", "-f", file, "down", "-t", "1", "-v")
	})
	return file
}

func TestComposePublishesAgainAtOnce(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	file := project(t, fmt.Sprintf(`name: e2eport
services:
  web:
    image: %s
    command: ["echo:tcp::7", "echo:udp::7"]
    ports: ["127.0.0.1:%s:7", "127.0.0.1:%s:7/udp"]
`, peer, port, port))
	for i := range 3 {
		shared.compose(t, file, "up", "-d")
		text := fmt.Sprintf("round %d\n", i)
		require.Equal(t, text+"end\n", exchange(t, "127.0.0.1", port, text))
		require.Equal(t, text, ask(t, "127.0.0.1", port, text))
		shared.compose(t, file, "down", "-t", "1")
		require.NoError(t, refuses("127.0.0.1", port))
	}
}

func TestNamesOfComposeReplicas(t *testing.T) {
	shared.loadPeer(t)
	file := project(t, fmt.Sprintf(`name: e2eshop
services:
  web:
    image: %s
    command: ["echo:tcp::7"]
    networks: {default: {aliases: [e2efront]}}
    deploy: {replicas: 2}
`, peer))
	shared.compose(t, file, "up", "-d")
	eventually(t, 10*time.Second, func() error {
		if got := dig(t, shared, "web.e2eshop.arcbox.local", "A"); len(got) != 2 {
			return fmt.Errorf("addresses %q", got)
		}
		return nil
	})
	require.Len(t, dig(t, shared, "e2efront.arcbox.local", "A"), 2)
	one := dig(t, shared, "e2eshop-web-1.arcbox.local", "A")
	require.Len(t, one, 1)
	docker(t, "kill", "e2eshop-web-2")
	eventually(t, 10*time.Second, func() error {
		if got := dig(t, shared, "web.e2eshop.arcbox.local", "A"); strings.Join(got, " ") != one[0] {
			return fmt.Errorf("addresses %q, the one that lives is %q", got, one)
		}
		return nil
	})
	shared.compose(t, file, "down", "-t", "1")
	eventually(t, 10*time.Second, func() error {
		if got := dig(t, shared, "web.e2eshop.arcbox.local", "A"); len(got) != 0 {
			return fmt.Errorf("addresses %q after the end", got)
		}
		return nil
	})
}
