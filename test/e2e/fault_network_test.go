package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echoes says whether the echo behind a port of the host answers.
func echoes(port string) error {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "ping\n"); err != nil {
		return err
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "ping\n" {
		return fmt.Errorf("answer %q: %w", buf, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}

func TestForwardsAfterFaults(t *testing.T) {
	d := own(t, "ports")
	require.NoError(t, d.start("--wait"))
	d.load(t)
	d.loadPeer(t)
	port, other := freePort(t), freePort(t)
	d.must(t, "run", "-d", "--name", "always", "--restart", "always", "-p", "127.0.0.1:"+port+":7", peer, "echo:tcp::7")
	require.NoError(t, echoes(port))

	t.Run("the engine is killed", func(t *testing.T) {
		d.must(t, "run", "-d", "--privileged", "--pid", "host", demo, "sh", "-c", "sleep 1; kill -9 $(pidof dockerd)")
		eventually(t, time.Minute, func() error {
			if restartsOf(t, d, "dockerd") == 0 {
				return errors.New("not restarted yet")
			}
			return nil
		})
		eventually(t, 2*time.Minute, func() error { return echoes(port) })
		require.Len(t, d.port(t, port), 1)
		d.must(t, "run", "-d", "--name", "second", "-p", "127.0.0.1:"+other+":7", peer, "echo:tcp::7")
		require.NoError(t, echoes(other), "new ports as before")
		d.must(t, "rm", "-f", "second")
		require.NoError(t, refuses("127.0.0.1", other))
	})

	t.Run("the machine is killed, and nobody waits for a port that was taken meanwhile", func(t *testing.T) {
		kill(t, hypervisorOf(t, d))
		eventually(t, 10*time.Second, func() error { return refuses("127.0.0.1", port) })
		taken, err := net.Listen("tcp", "127.0.0.1:"+port)
		require.NoError(t, err, "a machine that is down has no ports")
		defer taken.Close()
		d.must(t, "version")
		eventually(t, time.Minute, func() error {
			rows := d.port(t, port)
			if len(rows) != 1 || rows[0].State != "conflict" {
				return fmt.Errorf("forwards %+v", rows)
			}
			return nil
		})
		require.Contains(t, d.port(t, port)[0].Reason, "in use")
		require.Equal(t, "true\n", d.must(t, "inspect", "-f", "{{.State.Running}}", "always"), "the container is not lost")
		require.NoError(t, taken.Close())
		eventually(t, 30*time.Second, func() error { return echoes(port) })
		require.Equal(t, "active", d.port(t, port)[0].State)
	})

	t.Run("a guest that sends malformed frames", func(t *testing.T) {
		sent := d.must(t, "run", "--rm", "--privileged", "--network", "host", peer, "frames", "eth0", "5000")
		require.NotEqual(t, "0", strings.TrimSpace(sent))
		require.NoError(t, echoes(port), "the network goes on")
	})

	t.Run("the daemon restarts", func(t *testing.T) {
		_, err := d.arcbox(t.Context(), "daemon", "stop")
		require.NoError(t, err)
		require.NoError(t, refuses("127.0.0.1", port))
		require.NoError(t, d.start("--wait"))
		eventually(t, time.Minute, func() error { return echoes(port) })
		require.Len(t, d.ports(t), 1)
	})
}
