//go:build linux

package publish

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
	"arcbox/guest/publish/wire"
)

func TestAProxyFromStartToStop(t *testing.T) {
	s, b := agent(t)
	h := attach(t, b, nil)
	info, err := os.Stat(s.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	p := startProxy(t, s, nil, append(tcpArgs("::1", "8080", "172.17.0.2", "80"), "-new-flag", "value", "--other=x")...)
	require.NoError(t, p.await())
	require.Equal(t, []domain.ForwardRule{{
		Protocol: domain.TCP, Host: netip.MustParseAddrPort("[::1]:8080"), Target: netip.MustParseAddrPort("172.17.0.2:80"),
	}}, h.rules())
	rest, err := io.ReadAll(p.status)
	require.NoError(t, err)
	require.Empty(t, rest, "the pipe is closed")
	require.NoError(t, p.stop(), "exit code 0")
	require.Empty(t, h.rules(), "the port is free when the proxy has ended")
}

func TestARefusalIsReadableByDockerAndItsClient(t *testing.T) {
	s, b := agent(t)
	attach(t, b, func(domain.ForwardRule) string {
		return "listen 127.0.0.1:80: permission denied\n(set net.port)"
	})
	p := startProxy(t, s, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
	require.EqualError(t, p.await(), "error starting userland proxy: listen 127.0.0.1:80: not permitted (set net.port)")
	var exit interface{ ExitCode() int }
	require.ErrorAs(t, p.cmd.Wait(), &exit)
	require.Equal(t, 1, exit.ExitCode())
}

func TestBadArgumentsAreRefusedWithTheirName(t *testing.T) {
	s, b := agent(t)
	attach(t, b, nil)
	for want, args := range map[string][]string{
		`protocol "sctp"`:          {"-proto", "sctp", "-host-ip", "1.2.3.4", "-host-port", "1", "-container-ip", "1.2.3.4", "-container-port", "1"},
		`host address "x"`:         tcpArgs("x", "1", "1.2.3.4", "1"),
		`host port "0"`:            tcpArgs("1.2.3.4", "0", "1.2.3.4", "1"),
		`container address ""`:     tcpArgs("1.2.3.4", "1", "", "1"),
		`container port "65536"`:   tcpArgs("1.2.3.4", "1", "1.2.3.4", "65536"),
		"no container's address":   tcpArgs("1.2.3.4", "1", "0.0.0.0", "1"),
		"is not one":               tcpArgs("1.2.3.4 5", "1", "0.0.0.0", "1"),
		"protocol \"\"":            {},
		"the request is too long?": tcpArgs(strings.Repeat("9", 600), "1", "1.1.1.1", "1"),
	} {
		err := startProxy(t, s, nil, args...).await()
		require.Error(t, err)
		if !strings.HasSuffix(want, "?") {
			require.ErrorContains(t, err, want)
		}
	}
}

func TestWithoutAnAgentTheProxySaysSoAtOnce(t *testing.T) {
	begin := time.Now()
	p := startProxy(t, &Server{Path: "/nowhere/x"}, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
	require.EqualError(t, p.await(), "error starting userland proxy: the ArcBox agent does not take requests for ports (errno 2)")
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestTheEndOfAProxyIsARelease(t *testing.T) {
	s, b := agent(t)
	h := attach(t, b, nil)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := startProxy(t, s, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
		require.NoError(t, p.await())
		require.Len(t, h.rules(), 1)
		require.NoError(t, p.cmd.Process.Signal(sig))
		err := p.cmd.Wait()
		if sig == syscall.SIGTERM {
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return len(h.rules()) == 0 }, 5*time.Second, time.Millisecond)
	}
}

// A socket that is no port's is not kept, least of all the proxy's own.
func TestTheConnectionItselfIsNotKeptOpenByTheAgent(t *testing.T) {
	s, b := agent(t)
	h := attach(t, b, nil)
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: s.Path, Net: "unixpacket"})
	require.NoError(t, err)
	defer c.Close()
	own, err := c.File()
	require.NoError(t, err)
	_, _, err = c.WriteMsgUnix([]byte("bind tcp 127.0.0.1 80 172.17.0.2 80"), unix.UnixRights(int(own.Fd())), nil)
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	require.NoError(t, err)
	require.Equal(t, wire.Granted, string(buf[:n]))
	require.NoError(t, own.Close())
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return len(h.rules()) == 0 }, 5*time.Second, time.Millisecond)
}

// While a proxy waits, dockerd may end.
func TestTheEndOfAProxyThatWaits(t *testing.T) {
	s, b := agent(t)
	h := attach(t, b, func(r domain.ForwardRule) string {
		if r.Host.Port() == 80 {
			return "silence"
		}
		return ""
	})
	p := startProxy(t, s, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.leases) == 1 }, 5*time.Second, time.Millisecond)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait() // by the signal: dockerd does not ask any more
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.leases) == 0 }, 5*time.Second, time.Millisecond)
	require.Empty(t, h.rules())
}

func TestAHostThatIsSilentMakesAnErrorBeforeDockerdGivesUp(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for real limits")
	}
	s, b := agent(t)
	attach(t, b, func(domain.ForwardRule) string { return "silence" })
	begin := time.Now()
	p := startProxy(t, s, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
	require.ErrorContains(t, p.await(), "the ArcBox daemon did not answer in time")
	require.Less(t, time.Since(begin), 12*time.Second)
}

func TestANewHostIsGivenWhatLives(t *testing.T) {
	s, b := agent(t)
	first := attach(t, b, nil)
	p := startProxy(t, s, nil, tcpArgs("127.0.0.1", "80", "172.17.0.2", "80")...)
	require.NoError(t, p.await())
	q := startProxy(t, s, nil, tcpArgs("127.0.0.1", "81", "172.17.0.2", "80")...)
	require.NoError(t, q.await())
	first.end()
	require.NoError(t, p.stop(), "without a host nobody is waited for")

	// A request that comes now waits for the host.
	r := startProxy(t, s, nil, tcpArgs("127.0.0.1", "82", "172.17.0.2", "80")...)
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.leases) == 2 }, 5*time.Second, time.Millisecond)
	second := attach(t, b, nil)
	require.NoError(t, r.await())
	second.mu.Lock()
	require.Len(t, second.snapshots, 1)
	require.Len(t, second.snapshots[0], 1)
	require.Equal(t, "127.0.0.1:81", second.snapshots[0][0].Rule.Host.String())
	second.mu.Unlock()
	require.Len(t, second.rules(), 2)
	require.NoError(t, q.stop())
	require.Len(t, second.rules(), 1)
}

func TestFiveHundredAtOnce(t *testing.T) {
	const ports = 500
	s, b := agent(t)
	h := attach(t, b, nil)
	proxies := make([]*proxy, ports)
	for i := range proxies {
		proxies[i] = startProxy(t, s, nil, tcpArgs("127.0.0.1", strconv.Itoa(10000+i), "172.17.0.2", "80")...)
	}
	for i, p := range proxies {
		require.NoError(t, p.await(), "proxy %d", i)
	}
	require.Len(t, h.rules(), ports)
	resident := 0
	for _, p := range proxies {
		resident += private(t, p.cmd.Process.Pid)
	}
	t.Logf("own memory of a proxy: %d KiB", resident/ports)
	require.Less(t, resident/ports, 2048, "KiB")
	var wg sync.WaitGroup
	failed := make(chan error, ports)
	for _, p := range proxies {
		wg.Go(func() { failed <- p.stop() })
	}
	wg.Wait()
	for range ports {
		require.NoError(t, <-failed)
	}
	require.Empty(t, h.rules())
}

// private is what a process has in memory and does not share, KiB.
func private(t *testing.T, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	require.NoError(t, err)
	sum := 0
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Private_") {
			n, err := strconv.Atoi(strings.Fields(line)[1])
			require.NoError(t, err)
			sum += n
		}
	}
	return sum
}

// The guest's own clients reach the container through dockerd's socket, and the
// port is free when the proxy has ended.
func TestTheGuestsOwnClientsAreServed(t *testing.T) {
	s, b := agent(t)
	attach(t, b, nil)
	container, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer container.Close()
	var echoing sync.WaitGroup
	defer echoing.Wait()
	echoing.Go(func() {
		c, err := container.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(c) // until the client's half-close
		_, _ = c.Write(append(all, '!'))
		_ = c.Close()
	})
	_, containerPort, _ := net.SplitHostPort(container.Addr().String())
	socket, hostPort := listenAs(t, "127.0.0.1:0")
	p := startProxy(t, s, socket, tcpArgs("127.0.0.1", hostPort, "127.0.0.1", containerPort)...)
	require.NoError(t, p.await())
	require.NoError(t, socket.Close()) // as dockerd does

	c, err := net.Dial("tcp", "127.0.0.1:"+hostPort)
	require.NoError(t, err)
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello!", string(answer))
	_ = c.Close()

	require.NoError(t, p.stop())
	l, err := net.Listen("tcp", "127.0.0.1:"+hostPort)
	require.NoError(t, err, "the port can be bound at once")
	_ = l.Close()
}

func TestTheGuestsOwnUDPClientsAreServedFromTheAddressTheyAsked(t *testing.T) {
	s, b := agent(t)
	attach(t, b, nil)
	container, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var echoing sync.WaitGroup
	defer echoing.Wait()
	defer container.Close()
	echoing.Go(func() {
		buf := make([]byte, 100)
		for {
			n, from, err := container.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = container.WriteToUDPAddrPort(append(buf[:n:n], '!'), from)
		}
	})
	published, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
	require.NoError(t, err)
	raw, err := published.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	}))
	socket, err := published.File()
	require.NoError(t, err)
	port := published.LocalAddr().(*net.UDPAddr).Port
	require.NoError(t, published.Close())
	p := startProxy(t, s, socket, "-proto", "udp", "-host-ip", "0.0.0.0", "-host-port", strconv.Itoa(port), "-container-ip", "127.0.0.1",
		"-container-port", strconv.Itoa(container.LocalAddr().(*net.UDPAddr).Port), "-use-listen-fd")
	require.NoError(t, p.await())
	require.NoError(t, socket.Close())
	for i := range 3 {
		// A connected socket takes answers from this one address only.
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2+byte(i)), Port: port})
		require.NoError(t, err)
		_, err = c.Write([]byte{'a' + byte(i)})
		require.NoError(t, err)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		require.NoError(t, err)
		require.Equal(t, string(rune('a'+i))+"!", string(buf[:n]))
		_ = c.Close()
	}
	require.NoError(t, p.stop())
	again, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero, Port: port})
	require.NoError(t, err)
	_ = again.Close()
}
