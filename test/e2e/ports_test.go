package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// portRow is one forward as `arcbox ports --format json` shows it.
type portRow struct {
	HostIP    string `json:"host_ip"`
	HostPort  int    `json:"host_port"`
	Protocol  string `json:"protocol"`
	Container string `json:"container_name"`
	State     string `json:"state"`
	Reason    string `json:"reason"`
	BytesIn   uint64 `json:"bytes_in"`
	BytesOut  uint64 `json:"bytes_out"`
}

// ports lists the forwards of a daemon.
func (d *daemon) ports(t *testing.T) []portRow {
	t.Helper()
	out, err := d.arcbox(t.Context(), "ports", "--format", "json")
	require.NoError(t, err)
	var list struct{ Ports []portRow }
	require.NoError(t, json.Unmarshal([]byte(out), &list), out)
	return list.Ports
}

func (d *daemon) port(t *testing.T, hostPort string) []portRow {
	t.Helper()
	var found []portRow
	for _, r := range d.ports(t) {
		if fmt.Sprint(r.HostPort) == hostPort {
			found = append(found, r)
		}
	}
	return found
}

func TestAPublishedPortAnswersWhenRunReturns(t *testing.T) {
	shared.loadPeer(t)
	for range 5 {
		port := freePort(t)
		id := started(t, "-p", port+":7", peer, "echo:tcp::7")
		require.Equal(t, "hello\nend\n", exchange(t, "127.0.0.1", port, "hello\n"), "at once")
		require.Equal(t, "six\nend\n", exchange(t, "::1", port, "six\n"), "IPv6 as well")
		docker(t, "rm", "-f", id)
		require.NoError(t, refuses("127.0.0.1", port), "and it is gone when rm returns")
		require.NoError(t, refuses("::1", port))
		require.Empty(t, shared.port(t, port))
	}
}

func TestCurlGetsAPageOfNginx(t *testing.T) {
	port := freePort(t)
	started(t, "-p", port+":80", "arcbox/test-web")
	for _, url := range []string{"http://localhost:" + port + "/", "http://127.0.0.1:" + port + "/", "http://[::1]:" + port + "/"} {
		out, err := exec.CommandContext(t.Context(), "curl", "-fsS", "--max-time", "30", url).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "It works")
	}
}

func TestSocatTalksToPublishedPorts(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	started(t, "-p", port+":7/tcp", "-p", port+":7/udp", peer, "echo:tcp::7", "echo:udp::7")
	for address, want := range map[string]string{
		"TCP4:127.0.0.1:" + port: "by socat\nend\n", "TCP6:[::1]:" + port: "by socat\nend\n",
		"UDP4:127.0.0.1:" + port: "by socat\n", "UDP6:[::1]:" + port: "by socat\n",
	} {
		cmd := exec.CommandContext(t.Context(), "socat", "-t", "5", "-T", "5", "-", address)
		cmd.Stdin = strings.NewReader("by socat\n")
		out, err := cmd.Output()
		require.NoError(t, err, address)
		require.Equal(t, want, string(out), address)
	}
}

func TestAStreamThroughAPortKeepsItsEnds(t *testing.T) {
	shared.loadPeer(t)
	echo, sum, reset, stall := freePort(t), freePort(t), freePort(t), freePort(t)
	id := started(t, "-p", echo+":1", "-p", sum+":2", "-p", reset+":3", "-p", stall+":4",
		peer, "echo:tcp::1", "sum:tcp::2", "reset:tcp::3", "stall:tcp::4")

	t.Run("half-close from the client", func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		require.Equal(t, fmt.Sprintf("%d %x\n", len(data), sha256.Sum256(data)), exchange(t, "127.0.0.1", sum, string(data)))
	})
	t.Run("reset from the container", func(t *testing.T) {
		c := dial(t, "tcp", "127.0.0.1", reset)
		_, err := io.WriteString(c, "x")
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.ErrorIs(t, err, syscall.ECONNRESET, "no clean end")
	})
	t.Run("reset from the client", func(t *testing.T) {
		c := dial(t, "tcp", "127.0.0.1", stall)
		_, err := io.WriteString(c, "x")
		require.NoError(t, err)
		eventually(t, 10*time.Second, connections(t.Context(), id, ":0004", 1))
		require.NoError(t, c.(*net.TCPConn).SetLinger(0))
		require.NoError(t, c.Close())
		eventually(t, 10*time.Second, connections(t.Context(), id, ":0004", 0))
	})
	t.Run("a container that reads nothing holds the writer back", func(t *testing.T) {
		c := dial(t, "tcp", "127.0.0.1", stall)
		require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Second)))
		n, err := io.Copy(c, io.LimitReader(zeros{}, 256<<20))
		require.Error(t, err, "%d bytes went nowhere", n)
		require.Less(t, n, int64(64<<20))
	})
	require.NotZero(t, shared.port(t, sum)[0].BytesIn)
}

// connections counts the established connections of a port (four hexadecimal
// digits) in a container; netpeer has no shell, so a neighbour looks.
func connections(ctx context.Context, id, port string, want int) func() error {
	return func() error {
		text, err := shared.docker(ctx, "run", "--rm", "--network", "container:"+id, demo, "cat", "/proc/net/tcp", "/proc/net/tcp6")
		if err != nil {
			return err
		}
		n := 0
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], port) && f[3] == "01" {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d connections, want %d", n, want)
		}
		return nil
	}
}

func TestTheHostAddressIsHonoured(t *testing.T) {
	shared.loadPeer(t)
	lan := lanAddress(t)
	loop, lanPort, six := freePort(t), freePort(t), freePort(t)
	started(t, "-p", "127.0.0.1:"+loop+":7", "-p", lan+":"+lanPort+":7", "-p", "[::1]:"+six+":7", peer, "echo:tcp::7")
	require.Equal(t, "a\nend\n", exchange(t, "127.0.0.1", loop, "a\n"))
	require.NoError(t, refuses(lan, loop), "a loopback publish is not for others")
	require.NoError(t, refuses("::1", loop))
	require.Equal(t, "b\nend\n", exchange(t, lan, lanPort, "b\n"), "the guest does not own this address")
	require.NoError(t, refuses("127.0.0.1", lanPort))
	require.Equal(t, "c\nend\n", exchange(t, "::1", six, "c\n"))
	require.NoError(t, refuses("127.0.0.1", six))
}

func TestUDPAndTCPOfOnePort(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	started(t, "-p", port+":7/tcp", "-p", port+":7/udp", peer, "echo:tcp::7", "from:udp::7")
	require.Equal(t, "x\nend\n", exchange(t, "127.0.0.1", port, "x\n"))
	require.NotEmpty(t, ask(t, "127.0.0.1", port, "who"))
	require.NotEmpty(t, ask(t, "::1", port, "who"))
	first, second := dial(t, "udp", "127.0.0.1", port), dial(t, "udp", "127.0.0.1", port)
	a, b := askOn(t, first, "1"), askOn(t, second, "2")
	require.NotEqual(t, a, b, "each client is a flow of its own")
	require.Equal(t, a, askOn(t, first, "3"))
}

func TestManyDatagramClientsNeverSeeEachOthersAnswers(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	started(t, "-p", "127.0.0.1:"+port+":7/udp", peer, "echo:udp::7")
	require.Equal(t, "up", ask(t, "127.0.0.1", port, "up"))
	var wg sync.WaitGroup
	for client := range 20 {
		wg.Go(func() {
			c := dial(t, "udp", "127.0.0.1", port)
			for i := range 20 {
				text := fmt.Sprintf("client %d message %d", client, i)
				if got := askOn(t, c, text); got != text && !strings.HasPrefix(got, fmt.Sprintf("client %d ", client)) {
					t.Errorf("client %d got %q", client, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestATakenPortFailsRunAndStart(t *testing.T) {
	shared.loadPeer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	afterwards(t, "rm", "-f", "e2e-conflict")
	err = refused(t, "run", "-d", "--name", "e2e-conflict", "-p", "127.0.0.1:"+port+":7", peer, "echo:tcp::7")
	require.ErrorContains(t, err, "127.0.0.1:"+port)
	require.ErrorContains(t, err, "in use")
	require.ErrorContains(t, err, "e2e.test", "it says who has it")
	require.ErrorContains(t, err, "exit status 125", "as on native Docker")
	require.Equal(t, "created\n", docker(t, "inspect", "-f", "{{.State.Status}}", "e2e-conflict"))
	require.ErrorContains(t, refused(t, "start", "e2e-conflict"), "in use")
	require.NoError(t, l.Close())
	docker(t, "start", "e2e-conflict")
	require.Equal(t, "now\nend\n", exchange(t, "127.0.0.1", port, "now\n"))
}

func TestRangesAndChosenPorts(t *testing.T) {
	shared.loadPeer(t)
	id := started(t, "-p", "127.0.0.1:28100-28104:7-11", "-p", "127.0.0.1::12", peer, "echo:tcp::7", "echo:tcp::11", "echo:tcp::12")
	require.Equal(t, "a\nend\n", exchange(t, "127.0.0.1", "28100", "a\n"))
	require.Equal(t, "b\nend\n", exchange(t, "127.0.0.1", "28104", "b\n"))
	_, chosen, err := net.SplitHostPort(strings.TrimSpace(docker(t, "port", id, "12")))
	require.NoError(t, err)
	require.Equal(t, "c\nend\n", exchange(t, "127.0.0.1", chosen, "c\n"))
}

func TestAPortIsPublishedAgainAtOnce(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	for i := range 8 {
		id := strings.TrimSpace(docker(t, "run", "-d", "-p", port+":7", peer, "echo:tcp::7"))
		text := fmt.Sprintf("round %d\n", i)
		require.Equal(t, text+"end\n", exchange(t, "127.0.0.1", port, text))
		docker(t, "rm", "-f", id)
	}
}

func TestPortsSurviveChangesOfNetworks(t *testing.T) {
	shared.loadPeer(t)
	for _, n := range []string{"e2e-front", "e2e-back"} {
		docker(t, "network", "create", n)
		afterwards(t, "network", "rm", n)
	}
	port := freePort(t)
	id := started(t, "--network", "e2e-front", "-p", port+":7", peer, "echo:tcp::7")
	works := func(text string) {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 5*time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).CloseWrite()
			if answer, _ := io.ReadAll(c); string(answer) != text+"end\n" {
				return fmt.Errorf("answer %q", answer)
			}
			return nil
		})
	}
	works("one network\n")
	docker(t, "network", "connect", "e2e-back", id)
	works("two networks\n")
	docker(t, "network", "disconnect", "e2e-front", id)
	works("the other network\n")
	docker(t, "network", "disconnect", "e2e-back", id)
	eventually(t, 10*time.Second, func() error { return refuses("127.0.0.1", port) })
	docker(t, "network", "connect", "e2e-front", id)
	works("back again\n")
}

func TestListenersOfTheHostNetworkAreOnTheHostsLoopback(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	id := started(t, "--network", "host", peer, "echo:tcp::"+port, "echo:udp::"+port)
	eventually(t, 20*time.Second, func() error {
		if rows := shared.port(t, port); len(rows) < 2 {
			return fmt.Errorf("%d forwards", len(rows))
		}
		return nil
	})
	require.Equal(t, "host\nend\n", exchange(t, "127.0.0.1", port, "host\n"))
	require.Equal(t, "datagram", ask(t, "127.0.0.1", port, "datagram"))
	require.NoError(t, refuses(lanAddress(t), port), "loopback only")
	docker(t, "rm", "-f", id)
	eventually(t, 20*time.Second, func() error { return refuses("127.0.0.1", port) })
}

func TestPausedContainersKeepTheirPorts(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	id := started(t, "-p", port+":7", peer, "echo:tcp::7")
	docker(t, "kill", "-s", "URG", id) // Go programs take no notice of it
	require.Equal(t, "alive\nend\n", exchange(t, "127.0.0.1", port, "alive\n"), "a signal that ends nothing")
	docker(t, "pause", id)
	docker(t, "unpause", id)
	require.Equal(t, "again\nend\n", exchange(t, "127.0.0.1", port, "again\n"))
	docker(t, "restart", "-t", "1", id)
	require.Equal(t, "restarted\nend\n", exchange(t, "127.0.0.1", port, "restarted\n"))
	docker(t, "stop", "-t", "1", id)
	require.NoError(t, refuses("127.0.0.1", port))
	docker(t, "start", id)
	require.Equal(t, "started\nend\n", exchange(t, "127.0.0.1", port, "started\n"))
}

func TestAContainerThatEndsGivesItsPortBack(t *testing.T) {
	port := freePort(t)
	started(t, "-p", port+":80", demo, "sleep", "1")
	eventually(t, 20*time.Second, func() error { return refuses("127.0.0.1", port) })
	require.Empty(t, shared.port(t, port))
}

func TestThousandsOfConnectionsLeaveNothing(t *testing.T) {
	shared.loadPeer(t)
	port := freePort(t)
	started(t, "-p", "127.0.0.1:"+port+":7", peer, "echo:tcp::7")
	require.Equal(t, "first\nend\n", exchange(t, "127.0.0.1", port, "first\n"))
	before := descriptors(t, shared)
	const total, atOnce = 10_000, 50
	var wg sync.WaitGroup
	errs := make([]error, atOnce)
	for w := range atOnce {
		wg.Go(func() {
			for range total / atOnce {
				c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 20*time.Second)
				if err != nil {
					errs[w] = err
					return
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				one := []byte{'x'}
				_, werr := c.Write(one)
				_, rerr := io.ReadFull(c, one)
				if err := errors.Join(werr, rerr, c.Close()); err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	eventually(t, 20*time.Second, func() error {
		if after := descriptors(t, shared); after > before+3 {
			return fmt.Errorf("%d descriptors, %d before", after, before)
		}
		return nil
	})
}
