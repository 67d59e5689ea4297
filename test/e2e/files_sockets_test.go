package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answering serves a Unix socket until the test ends: it reads to the end, and
// says how much came.
func answering(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				data, err := io.ReadAll(c)
				if err == nil {
					_, _ = fmt.Fprintf(c, "%d bytes: %.20s", len(data), data)
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
}

func (f *files) socket(t *testing.T) {
	dir := f.makeDir(t, "sockets")
	path := filepath.Join(dir, "echo.sock")
	answering(t, path)
	i := f.inside(t, bind(path, "/run/echo.sock"))
	require.Equal(t, "5 bytes: hello", i.ask("dial", "/run/echo.sock", "hello"), "the end of each direction passes by itself")
	long := strings.Repeat("0123456789", 200_000)
	require.Equal(t, "2000000 bytes: 01234567890123456789", i.ask("dial", "/run/echo.sock", long))
	for n := range 30 {
		require.Contains(t, i.ask("dial", "/run/echo.sock", fmt.Sprint("connection ", n)), fmt.Sprint("connection ", n))
	}
	require.NoError(t, os.Remove(path)) // the listener lives on, but is not found any more
	require.NotEmpty(t, i.try(question{Do: "dial", Path: "/run/echo.sock"}).Error+i.try(question{Do: "dial", Path: "/run/echo.sock", Data: "x"}).Error, "nobody answers")

	outside := filepath.Join(f.dir, "outside.sock")
	answering(t, outside)
	_, err := f.docker(t.Context(), "run", "--rm", bind(outside, "/run/s"), demo, "true")
	require.ErrorContains(t, err, "vm.mounts")
}

func (f *files) engineSocket(t *testing.T) {
	i := f.inside(t, "--name", "e2e-own", bind("/var/run/docker.sock", "/var/run/docker.sock"))
	var list []struct {
		ID    string `json:"Id"`
		Names []string
	}
	require.NoError(t, json.Unmarshal([]byte(i.ask("get", "/var/run/docker.sock", "/containers/json")), &list))
	id := strings.TrimSpace(f.must(t, "inspect", "-f", "{{.Id}}", "e2e-own"))
	for _, c := range list {
		if c.ID == id {
			require.Equal(t, []string{"/e2e-own"}, c.Names)
			return
		}
	}
	t.Fatalf("%s is not in %v", id, list)
}

func (f *files) sshAgent(t *testing.T) {
	if _, err := exec.LookPath("ssh-agent"); err != nil {
		t.Skip("no ssh-agent on this machine")
	}
	f.loadDev(t)
	key := filepath.Join(t.TempDir(), "key")
	host := func(program string, args ...string) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+f.agent)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	list := []string{"run", "--rm", bind("/run/host-services/ssh-auth.sock", "/agent"), "-e", "SSH_AUTH_SOCK=/agent", devImage, "ssh-add", "-l"}
	_, err := f.docker(t.Context(), list...)
	require.Error(t, err, "no agent runs yet")

	agent := exec.Command("ssh-agent", "-D", "-a", f.agent)
	require.NoError(t, agent.Start())
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	eventually(t, 10*time.Second, func() error { _, err := os.Stat(f.agent); return err })
	host("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the user's key", "-f", key)
	host("ssh-add", "-q", key)
	require.Contains(t, f.must(t, list...), "the user's key")
}
