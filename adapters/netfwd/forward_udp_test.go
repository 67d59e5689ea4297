package netfwd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

func dialUDP(t testing.TB, host netip.AddrPort) *net.UDPConn {
	c, err := net.Dial("udp", host.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func TestForwardUDPSizes(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.echoUDP(t, container4)
	r.echoUDP(t, container6)
	for _, c := range []struct {
		address string
		target  netip.AddrPort
	}{{"127.0.0.1", container4}, {"::1", container6}, {"::1", container4}} {
		f, host := r.forward(t, domain.UDP, c.address, c.target)
		client := dialUDP(t, host)
		sum := uint64(0)
		for _, size := range []int{0, 1, 1472, 9000, usernet.MaxDatagram} {
			requireEcho(t, client, pattern(size))
			sum += uint64(size)
		}
		want := domain.ForwardStats{Flows: 1, Total: 1, In: sum, Out: sum}
		require.Eventually(t, func() bool { return f.Stats() == want }, 5*time.Second, time.Millisecond)
	}
}

// TestForwardUDPTooLarge: what a datagram of IPv4 has no room for is lost, and
// not cut.
func TestForwardUDPTooLarge(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.echoUDP(t, container6)
	f, host := r.forward(t, domain.UDP, "::1", container6)
	client := dialUDP(t, host)
	require.NoError(t, client.SetWriteBuffer(1<<20))
	_, err := client.Write(pattern(usernet.MaxDatagram + 10))
	require.NoError(t, err)
	requireEcho(t, client, []byte("next"))
	// It is counted after it was sent, and the answer may be quicker.
	require.Eventually(t, func() bool { return f.Stats().In != 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, uint64(4), f.Stats().In)
}

// TestForwardUDPEarlyNews: a guest that guesses the port of a session may send
// to it before the session is known here.
func TestForwardUDPEarlyNews(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	u := &udpForward{forward: &forward{}, wake: make(chan struct{}, 1), sessions: make(map[udpKey]*udpSession),
		idle: time.Hour, expiry: time.NewTimer(time.Hour)}
	s := &udpSession{}
	u.notify(s)
	require.Nil(t, u.next(), "it has no socket yet")
	guest, err := r.net.DialDatagrams(container4, func() {})
	require.NoError(t, err)
	defer guest.Close()
	u.place(s, guest)
	require.Same(t, s, u.next())
	require.Nil(t, u.next())
}

// TestForwardUDPClientsApart is the bug of the first forwarder, which knew only
// the last client and sent it everybody's answers.
func TestForwardUDPClientsApart(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	var wg sync.WaitGroup
	errs := make(chan error, 20)
	for i := range 20 {
		c := dialUDP(t, host)
		wg.Go(func() {
			b := make([]byte, 100)
			for j := range 50 {
				want := fmt.Sprintf("client %d datagram %d", i, j)
				c.SetDeadline(soon())
				c.Write([]byte(want))
				k, err := c.Read(b)
				if err != nil || string(b[:k]) != want {
					errs <- fmt.Errorf("%q got %q: %w", want, b[:k], err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	require.Equal(t, uint64(20), f.Stats().Total)
}

// TestForwardUDPExpiry: a session lives as long as something moves in either
// direction, and no longer. The table of sessions of the first forwarder only grew.
func TestForwardUDPExpiry(t *testing.T) {
	r := newForwardRig(t, forwardLimits{udpSessions: 10, udpIdle: 300 * time.Millisecond, udpIdleDNS: 300 * time.Millisecond})
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	busy, quiet := dialUDP(t, host), dialUDP(t, host)
	requireEcho(t, quiet, []byte("once"))
	for start := time.Now(); time.Since(start) < 700*time.Millisecond; time.Sleep(50 * time.Millisecond) {
		requireEcho(t, busy, []byte("again"))
	}
	require.Equal(t, uint64(1), f.Stats().Flows, "the quiet one is gone, the busy one is not")
	require.Equal(t, uint64(2), f.Stats().Total)
	requireNoFlows(t, f)
	requireEcho(t, quiet, []byte("a new session"))
	require.Equal(t, uint64(3), f.Stats().Total)
}

func TestForwardUDPExpiryOfDNS(t *testing.T) {
	dns := netip.AddrPortFrom(container4.Addr(), dnsPort)
	r := newForwardRig(t, forwardLimits{udpSessions: 10, udpIdle: time.Hour, udpIdleDNS: 100 * time.Millisecond})
	r.echoUDP(t, dns)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", dns)
	requireEcho(t, dialUDP(t, host), []byte("query"))
	requireNoFlows(t, f)
}

// TestForwardUDPAnswersFromWhereItWasAsked: a client drops an answer from
// another address of the host than the one that it sent to.
func TestForwardUDPAnswersFromWhereItWasAsked(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.echoUDP(t, container4)
	for _, wildcard := range []string{"0.0.0.0", "::"} {
		f, host := r.forward(t, domain.UDP, wildcard, container4)
		// One client socket, of no fixed peer, sends to all addresses.
		pc, err := net.ListenPacket(familyNetwork(domain.UDP, host.Addr()), netip.AddrPortFrom(host.Addr(), 0).String())
		require.NoError(t, err)
		defer pc.Close()
		addresses := hostAddresses(t, host.Addr().Is4())
		for _, a := range addresses {
			to := netip.AddrPortFrom(a, host.Port())
			_, err := pc.WriteTo([]byte(a.String()), net.UDPAddrFromAddrPort(to))
			require.NoError(t, err)
			require.NoError(t, pc.SetReadDeadline(soon()))
			b := make([]byte, 100)
			k, from, err := pc.ReadFrom(b)
			require.NoError(t, err, to)
			require.Equal(t, a.String(), string(b[:k]))
			require.Equal(t, to.String(), from.String())
		}
		require.NotZero(t, f.Stats().Total)
	}
}

// hostAddresses are addresses of this computer, more than one where it can be.
func hostAddresses(t *testing.T, v4 bool) []netip.Addr {
	var out []netip.Addr
	if v4 {
		out = append(out, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"))
	} else {
		out = append(out, netip.IPv6Loopback())
	}
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		require.NoError(t, err)
		if ip := p.Addr(); ip.Is4() == v4 && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			out = append(out, ip)
		}
	}
	return out
}

// TestForwardUDPRefused: who refuses is counted once, and the session lives on.
func TestForwardUDPRefused(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	// The fake guest answers "port unreachable" there alone.
	refuses := netip.AddrPortFrom(r.cfg.Guest4, dnsPort)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", refuses)
	c := dialUDP(t, host)
	for range 5 {
		c.Write([]byte("hello"))
		require.Eventually(t, func() bool { return f.Stats().Failed == 1 }, 5*time.Second, time.Millisecond)
	}
	require.Eventually(t, func() bool { return f.Stats().In == 25 }, 5*time.Second, time.Millisecond)
	require.Equal(t, domain.ForwardStats{Flows: 1, Total: 1, Failed: 1, In: 25}, f.Stats())
}

// TestForwardUDPLostContainer is one that answers after all: an earlier silence
// has not ended anything.
func TestForwardUDPLostContainer(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	_, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	c := dialUDP(t, host)
	c.Write([]byte("nobody listens"))
	r.echoUDP(t, container4)
	require.Eventually(t, func() bool {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		c.Write([]byte("hello"))
		b := make([]byte, 100)
		k, err := c.Read(b)
		return err == nil && string(b[:k]) == "hello"
	}, 5*time.Second, time.Millisecond)
}

func TestForwardUDPLimit(t *testing.T) {
	r := newForwardRig(t, forwardLimits{udpSessions: 2, udpIdle: 300 * time.Millisecond, udpIdleDNS: time.Second})
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	requireEcho(t, dialUDP(t, host), []byte("1"))
	requireEcho(t, dialUDP(t, host), []byte("2"))
	third := dialUDP(t, host)
	third.Write([]byte("3"))
	require.Eventually(t, func() bool { return f.Stats().Limited == 1 }, 5*time.Second, time.Millisecond)
	require.Equal(t, uint64(2), f.Stats().Total)
	requireNoFlows(t, f)
	requireEcho(t, third, []byte("there is a place again"))
}

// TestForwardUDPMakesRoom: places that nobody uses do not keep a new client out.
func TestForwardUDPMakesRoom(t *testing.T) {
	r := newForwardRig(t, forwardLimits{udpSessions: 16, udpIdle: time.Hour, udpIdleDNS: time.Hour})
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	for range 16 {
		requireEcho(t, dialUDP(t, host), []byte("one datagram and no more"))
	}
	c := dialUDP(t, host)
	require.Eventually(t, func() bool {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		c.Write([]byte("new"))
		k, err := c.Read(make([]byte, 100))
		return err == nil && k == 3
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, uint64(17), f.Stats().Total)
	require.LessOrEqual(t, f.Stats().Flows, uint64(15), "several places became free at once")
	require.Positive(t, f.Stats().Limited, "not before they were quiet for a while")
}

func TestForwardUDPCloseInTraffic(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.UDP, "127.0.0.1", container4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		c := dialUDP(t, host)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.Write(make([]byte, 1000))
				}
			}
		})
	}
	require.Eventually(t, func() bool { return f.Stats().Out > 100_000 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Close())
	require.Zero(t, f.Stats().Flows)
	close(stop)
	wg.Wait()
	again, err := r.Forward(context.Background(), domain.ForwardRule{Protocol: domain.UDP, Host: host, Target: container4})
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestPacketInfo(t *testing.T) {
	require.False(t, localOf(nil).IsValid())
	require.False(t, localOf([]byte{1, 2, 3}).IsValid())
	require.Nil(t, sourceControl(udpKey{}))
	require.Nil(t, sourceControl(udpKey{local: netip.MustParseAddr("224.0.0.1")}))
	for _, a := range []string{"192.0.2.7", "2001:db8::7"} {
		oob := sourceControl(udpKey{local: netip.MustParseAddr(a)})
		require.Equal(t, a, localOf(oob).String())
		for cut := range oob {
			localOf(oob[:cut]) // a message that was cut does not panic
		}
	}
	require.False(t, peerOf(nil).IsValid())
	require.Equal(t, "[fe80::1%3]:9", peerOf(&unix.SockaddrInet6{Port: 9, ZoneId: 3, Addr: netip.MustParseAddr("fe80::1").As16()}).String())
}
