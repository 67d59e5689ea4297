package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// networkStatus is the output of arcbox network status --format json.
type networkStatus struct {
	Installed bool `json:"installed"`
	Attached  bool `json:"attached"`
}

func (d *daemon) network(t *testing.T) networkStatus {
	t.Helper()
	out, err := d.arcbox(t.Context(), "network", "status", "--format", "json")
	require.NoError(t, err)
	var st networkStatus
	require.NoError(t, json.Unmarshal([]byte(out), &st), out)
	return st
}

// echoesAt says whether an unpublished echo answers at an address by a network.
func echoesAt(network, addr string) error {
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "direct"); err != nil {
		return err
	}
	buf := make([]byte, 6)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "direct" {
		return fmt.Errorf("answer %q: %w", buf, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}

// ping sends one echo request and waits for its answer.
func ping(addr string) error {
	c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer c.Close()
	id := os.Getpid() & 0xffff
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: 1, Data: []byte("arcbox")}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(request, &net.IPAddr{IP: net.ParseIP(addr)}); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	for buf := make([]byte, 1500); ; {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(1, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply || from.String() != addr {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == id {
			return nil
		}
	}
}

func TestContainersAreReachedByTheirAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making an interface needs root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("this host has no tun devices: ", err)
	}
	shared.loadPeer(t)
	docker(t, "network", "create", "e2e-direct")
	afterwards(t, "network", "rm", "e2e-direct")
	first := addressOf(t, started(t, "--name", "e2e-direct-1", peer, "echo:tcp::7", "echo:udp::7", "from:tcp::8"))
	second := addressOf(t, started(t, "--network", "e2e-direct", peer, "echo:tcp::7"))
	require.Error(t, echoesAt("tcp", first+":7"), "not before it is installed")

	ip := func(args ...string) {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ip", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	ip("route", "add", "172.30.0.0/16", "dev", "lo")
	_, err := shared.arcbox(t.Context(), "network", "install")
	ip("route", "del", "172.30.0.0/16", "dev", "lo")
	require.ErrorContains(t, err, "172.30.0.0/16")
	require.ErrorContains(t, err, "172.16.0.0/12", "both are named")
	require.False(t, shared.network(t).Installed)

	t.Cleanup(func() {
		_, err := shared.arcbox(context.WithoutCancel(t.Context()), "network", "uninstall")
		require.NoError(t, err)
	})
	for range 2 { // the second changes nothing
		_, err = shared.arcbox(t.Context(), "network", "install")
		require.NoError(t, err)
	}
	eventually(t, 30*time.Second, func() error {
		if !shared.network(t).Attached {
			return fmt.Errorf("the daemon has not attached")
		}
		return echoesAt("tcp", first+":7")
	})
	require.NoError(t, echoesAt("udp", first+":7"))
	require.NoError(t, echoesAt("tcp", second+":7"), "networks of the user as well")
	require.NoError(t, ping(first))
	name := dig(t, shared, "e2e-direct-1.arcbox.local", "A")
	require.NoError(t, echoesAt("tcp", name[0]+":7"), "by its name")
	// A container sees the host's address on the interface, and reaches it there.
	from, err := net.DialTimeout("tcp", first+":8", 5*time.Second)
	require.NoError(t, err)
	who, err := io.ReadAll(from)
	require.NoError(t, err)
	require.NoError(t, from.Close())
	require.True(t, strings.HasPrefix(string(who), "10.0.2.254:"), string(who))
	l, err := net.Listen("tcp", "10.0.2.254:0")
	require.NoError(t, err)
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "host\n")
			_ = c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "host\n", docker(t, "run", "--rm", demo, "nc", "10.0.2.254", port))
	require.NoError(t, l.Close())

	docker(t, "network", "create", "--internal", "e2e-closed")
	afterwards(t, "network", "rm", "e2e-closed")
	closed := addressOf(t, started(t, "--network", "e2e-closed", peer, "echo:tcp::7"))
	require.Error(t, echoesAt("tcp", closed+":7"), "an internal network stays closed")

	_, err = shared.arcbox(t.Context(), "network", "uninstall")
	require.NoError(t, err)
	require.Error(t, echoesAt("tcp", first+":7"))
	require.False(t, shared.network(t).Installed)
}
