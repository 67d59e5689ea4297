package netfwd

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestPlanBind(t *testing.T) {
	for _, c := range []struct {
		os   string
		uid  int
		host string
		at   string
		only string
	}{
		{"linux", 1000, "127.0.0.1:80", "127.0.0.1:80", ""},
		{"darwin", 501, "127.0.0.1:80", "0.0.0.0:80", "127.0.0.1"},
		{"darwin", 501, "127.0.0.1:1023", "0.0.0.0:1023", "127.0.0.1"},
		{"darwin", 501, "127.0.0.1:1024", "127.0.0.1:1024", ""},
		{"darwin", 0, "127.0.0.1:80", "127.0.0.1:80", ""},
		{"darwin", 501, "0.0.0.0:80", "0.0.0.0:80", ""},
		{"darwin", 501, "[::]:80", "[::]:80", ""},
		{"darwin", 501, "[::1]:80", "[::]:80", "::1"},
		{"darwin", 501, "[fe80::1%en0]:80", "[::]:80", "fe80::1"},
	} {
		p := planBind(c.os, c.uid, netip.MustParseAddrPort(c.host))
		require.Equal(t, c.at, p.at.String(), "%+v", c)
		if c.only == "" {
			require.False(t, p.only.IsValid(), "%+v", c)
			require.True(t, p.admits(netip.MustParseAddr("192.0.2.1")))
			continue
		}
		require.Equal(t, c.only, p.only.String())
		require.True(t, p.admits(netip.MustParseAddr(c.only)))
		require.False(t, p.admits(netip.MustParseAddr("192.0.2.1")))
		require.False(t, p.admits(netip.Addr{}))
	}
	p := bindPlan{only: netip.MustParseAddr("127.0.0.1")}
	require.True(t, p.admits(netip.MustParseAddr("::ffff:127.0.0.1")))
}

// TestForwardBehindWildcard carries out macOS' plan, which works everywhere:
// peers of another address of the host are turned away.
func TestForwardBehindWildcard(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	r.echoUDP(t, container4)
	for _, p := range []domain.Protocol{domain.TCP, domain.UDP} {
		f := &forward{owner: &r.forwards, net: r.net, limits: defaultForwardLimits(),
			rule: domain.ForwardRule{Protocol: p, Target: container4}}
		f.life, f.cancel = context.WithCancel(context.Background())
		plan := bindPlan{
			at:   netip.AddrPortFrom(netip.IPv4Unspecified(), freePort(t, p, "0.0.0.0")),
			only: netip.MustParseAddr("127.0.0.2"),
		}
		wanted := netip.AddrPortFrom(plan.only, plan.at.Port())
		other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), plan.at.Port())
		if p == domain.TCP {
			require.NoError(t, f.listenTCP(context.Background(), plan))
			requireTurnedAway(t, other)
			requireEcho(t, dialHost(t, wanted), []byte("hello"))
		} else {
			require.NoError(t, f.listenUDP(context.Background(), plan))
			_, err := dialUDP(t, other).Write([]byte("hello"))
			require.NoError(t, err)
			requireEcho(t, dialUDP(t, wanted), []byte("hello"))
		}
		require.Equal(t, uint64(1), f.Stats().Total)
		require.NoError(t, f.Close())
		var nothing *net.OpError
		_, err := net.Dial("tcp", wanted.String())
		require.ErrorAs(t, err, &nothing)
	}
}
