package usernet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// echoHost answers each datagram with its second half.
func echoHost(t testing.TB, network, address string) netip.AddrPort {
	pc, err := net.ListenPacket(network, address)
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[k/2:k], from)
		}
	}()
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func requireEcho(t testing.TB, c net.Conn, size int) {
	t.Helper()
	b := make([]byte, 65536)
	_, err := c.Write(pattern(size))
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(soon()))
	k, err := c.Read(b)
	require.NoError(t, err)
	require.Equal(t, pattern(size)[size/2:], b[:k])
}

func TestUDPOutbound(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		r := newRig(t, f, nil)
		for gw, at := range map[netip.Addr]netip.AddrPort{
			r.n.cfg.Gateway4: echoHost(t, "udp4", "127.0.0.1:0"),
			r.n.cfg.Gateway6: echoHost(t, "udp6", "[::1]:0"),
		} {
			u, err := r.g.DialUDP(netip.AddrPortFrom(gw, at.Port()))
			require.NoError(t, err)
			defer u.Close()
			for _, size := range []int{1, 8000, 20000, 60000} { // the larger ones in fragments
				requireEcho(t, u, size)
			}
		}
		require.Equal(t, uint64(2), r.n.Counters().UDPFlows)
	})
}

func TestUDPIdle(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.UDPIdle = 150 * time.Millisecond })
	at := echoHost(t, "udp4", "127.0.0.1:0")
	u, err := r.g.DialUDP(netip.AddrPortFrom(r.n.cfg.Gateway4, at.Port()))
	require.NoError(t, err)
	defer u.Close()
	for range 4 { // traffic keeps it for longer than the idle time
		requireEcho(t, u, 10)
		require.Equal(t, uint64(1), r.n.Counters().UDPFlows)
		time.Sleep(60 * time.Millisecond)
	}
	require.Eventually(t, func() bool { return r.n.Counters().UDPFlows == 0 }, 5*time.Second, 5*time.Millisecond)
	requireEcho(t, u, 10) // the next datagram opens another session
}

func TestUDPIdleOfDNS(t *testing.T) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", echoHost(t, "udp4", "127.0.0.1:0").String())
	}
	r := newRig(t, VhostUser, func(c *Config) { c.UDPIdleDNS, c.Dial = 50*time.Millisecond, dial })
	u, err := r.g.DialUDP(netip.MustParseAddrPort("192.0.2.1:53"))
	require.NoError(t, err)
	defer u.Close()
	requireEcho(t, u, 10)
	require.Eventually(t, func() bool { return r.n.Counters().UDPFlows == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestUDPLimit(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.MaxUDPFlows = 5 })
	at := echoHost(t, "udp4", "127.0.0.1:0")
	for i := range 8 {
		u, err := r.g.DialUDP(netip.AddrPortFrom(r.n.cfg.Gateway4, at.Port()))
		require.NoError(t, err)
		defer u.Close()
		if i < 5 {
			requireEcho(t, u, 10)
		} else {
			_, err = u.Write([]byte("x"))
			require.NoError(t, err)
		}
	}
	require.Eventually(t, func() bool { return r.n.Counters().UDPLimit == 3 }, 5*time.Second, time.Millisecond)
	require.Equal(t, uint64(5), r.n.Counters().UDPFlows)
}

// TestUDPRefused: where the guest has no business, it is told so.
func TestUDPRefused(t *testing.T) {
	unreachable := make(chan struct{}, 1)
	r := newTappedRig(t, VhostUser, nil, func(f []byte) {
		if b := f[ethLen:]; f[12] == 8 && f[13] == 0 && b[9] == 1 && string(b[20:22]) == "\x03\x03" {
			unreachable <- struct{}{}
		}
	})
	u, err := r.g.DialUDP(netip.MustParseAddrPort("169.254.169.254:80"))
	require.NoError(t, err)
	defer u.Close()
	_, err = u.Write([]byte("x"))
	require.NoError(t, err)
	select {
	case <-unreachable:
	case <-time.After(5 * time.Second):
		t.Fatal("no ICMP port unreachable")
	}
	require.Equal(t, uint64(1), r.n.Counters().Refused)
}

// TestUDPSurvivesICMPError: nothing listens at first; that must not end the session.
func TestUDPSurvivesICMPError(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	at := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	require.NoError(t, pc.Close())
	u, err := r.g.DialUDP(netip.AddrPortFrom(r.n.cfg.Gateway4, at.Port()))
	require.NoError(t, err)
	defer u.Close()
	for range 3 {
		_, err = u.Write([]byte("lost"))
		require.NoError(t, err)
	}
	time.Sleep(20 * time.Millisecond)
	echoHost(t, "udp4", at.String())
	require.Eventually(t, func() bool {
		u.Write([]byte("ab"))
		u.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		k, err := u.Read(make([]byte, 10))
		return err == nil && k == 1
	}, 5*time.Second, time.Millisecond)
}

func TestUDPInbound(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	at := echoHost(t, "udp4", "127.0.0.1:0") // plays the guest's server through the rig's own forwarding
	u, err := r.n.DialUDP(netip.AddrPortFrom(r.n.cfg.Guest4, at.Port()))
	require.NoError(t, err)
	defer u.Close()
	requireEcho(t, u, 3000)
}

func TestDNSPort(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		r := newRig(t, f, nil)
		for _, gw := range []netip.Addr{r.n.cfg.Gateway4, r.n.cfg.Gateway6} {
			at := netip.AddrPortFrom(gw, dnsPort)
			c, err := r.g.DialTCP(within(t, 5*time.Second), at)
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.SetDeadline(soon()))
			for range 2 { // one connection serves several queries
				_, err = c.Write([]byte("\x00\x05hello"))
				require.NoError(t, err)
				b := make([]byte, 100)
				k, err := c.Read(b)
				require.NoError(t, err)
				require.Equal(t, "\x00\x09tcp:hello", string(b[:k]))
			}
			u, err := r.g.DialUDP(at)
			require.NoError(t, err)
			defer u.Close()
			_, err = u.Write([]byte("hello"))
			require.NoError(t, err)
			require.NoError(t, u.SetDeadline(soon()))
			b := make([]byte, 100)
			k, err := u.Read(b)
			require.NoError(t, err)
			require.Equal(t, "udp:hello", string(b[:k]))
		}
	})
}

type stuckResolver struct{}

func (stuckResolver) Resolve(ctx context.Context, _ []byte, _ domain.Protocol) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestDNSLimit(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.DNS, c.MaxQueries = stuckResolver{}, 4 })
	u, err := r.g.DialUDP(netip.AddrPortFrom(r.n.cfg.Gateway4, dnsPort))
	require.NoError(t, err)
	defer u.Close()
	for i := range 10 {
		_, err = fmt.Fprint(u, i)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return r.n.Counters().QueryLimit == 6 }, 5*time.Second, time.Millisecond)
}
