package usernet

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestTarget(t *testing.T) {
	cfg := DefaultConfig()
	p := &policy{cfg: &cfg, behind: cfg.Behind}
	for _, c := range []struct{ to, want string }{
		{"10.0.2.1:80", "127.0.0.1:80"},
		{"[fd0a:bc::1]:80", "[::1]:80"},
		{"192.0.2.7:443", "192.0.2.7:443"},
		{"192.168.1.1:443", "192.168.1.1:443"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443"},
		{"[::ffff:192.0.2.7]:443", "192.0.2.7:443"},
		{"10.0.2.1:53", ""},
		{"10.0.2.1:0", ""},
		{"10.0.2.2:80", ""},
		{"10.0.2.255:80", ""},
		{"172.17.0.2:80", ""},
		{"[fd0a:bc:1::2]:80", ""},
		{"127.0.0.1:80", ""},
		{"127.8.8.8:80", ""},
		{"[::1]:80", ""},
		{"[::ffff:127.0.0.1]:80", ""},
		{"[::127.0.0.1]:80", ""},
		{"0.0.0.0:80", ""},
		{"0.0.0.1:80", ""},
		{"[::]:80", ""},
		{"169.254.169.254:80", ""},
		{"[fd00:ec2::254]:80", ""},
		{"[fd20:ce::254]:80", ""},
		{"[fe80::2]:80", ""},
		{"224.0.0.251:5353", ""},
		{"[ff02::fb]:5353", ""},
		{"255.255.255.255:67", ""},
		{"241.0.0.1:1", ""},
	} {
		got, ok := p.target(netip.MustParseAddrPort(c.to))
		require.Equal(t, c.want != "", ok, c.to)
		if ok {
			require.Equal(t, c.want, got.String(), c.to)
		}
	}
}

func TestSetBehind(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	defer n.Close()
	world := netip.MustParseAddrPort("100.100.0.2:80")
	_, outbound := n.policy.Load().target(world)
	require.True(t, outbound)

	for _, bad := range []string{"0.0.0.0/0", "64.0.0.0/2", "::/0", "127.0.0.0/8", "224.0.0.0/8", "fe80::/64", "::ffff:1.2.3.0/120", "169.254.0.0/16"} {
		require.ErrorIs(t, n.SetBehind([]netip.Prefix{netip.MustParsePrefix("100.100.0.0/16"), netip.MustParsePrefix(bad)}), domain.ErrInvalid, bad)
	}
	require.ErrorIs(t, n.SetBehind([]netip.Prefix{{}}), domain.ErrInvalid)
	_, outbound = n.policy.Load().target(world)
	require.True(t, outbound, "a refused change changes nothing")

	require.NoError(t, n.SetBehind([]netip.Prefix{netip.MustParsePrefix("100.100.0.0/16")}))
	_, outbound = n.policy.Load().target(world)
	require.False(t, outbound)
	require.NoError(t, n.dialable(world))
	require.Error(t, n.dialable(netip.MustParseAddrPort("172.17.0.2:80")))
	require.Len(t, n.stack.GetRouteTable(), 4)
}

func TestConfigCheck(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"small MTU":         func(c *Config) { c.MTU = 576 },
		"large MTU":         func(c *Config) { c.MTU = 65536 },
		"framing":           func(c *Config) { c.Framing = 7 },
		"foreign guest":     func(c *Config) { c.Guest4 = netip.MustParseAddr("10.0.3.2") },
		"guest is gateway":  func(c *Config) { c.Guest4 = c.Gateway4 },
		"half an IPv6":      func(c *Config) { c.Guest6 = netip.Addr{} },
		"group MAC":         func(c *Config) { c.GuestMAC[0] |= 1 },
		"no MAC":            func(c *Config) { c.GatewayMAC = [6]byte{} },
		"no limit":          func(c *Config) { c.MaxUDPFlows = 0 },
		"no deadline":       func(c *Config) { c.ConnectTimeout = -time.Second },
		"no host":           func(c *Config) { c.Host4 = netip.Addr{} },
		"everything behind": func(c *Config) { c.Behind = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			change(&cfg)
			_, err := New(cfg)
			require.ErrorIs(t, err, domain.ErrInvalid)
		})
	}
}

func TestAdmitIPv6(t *testing.T) {
	cfg := DefaultConfig()
	p := &policy{cfg: &cfg, behind: cfg.Behind}
	packet := func(next byte, from, to string, payload ...byte) []byte {
		b := append([]byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 255}, netip.MustParseAddr(from).AsSlice()...)
		return append(append(b, netip.MustParseAddr(to).AsSlice()...), payload...)
	}
	const udp, icmp = 17, 58
	solicit := func(target string) []byte {
		return append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	}
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"guest":                     {packet(udp, "fd0a:bc::2", "2001:db8::1", 0), true},
		"container":                 {packet(udp, "fd0a:bc:1::9", "2001:db8::1", 0), true},
		"link-local":                {packet(udp, "fe80::2", "fe80::1", 0), true},
		"gateway's address":         {packet(udp, "fd0a:bc::1", "2001:db8::1", 0), false},
		"gateway's link-local":      {packet(udp, "fe80::1", "2001:db8::1", 0), false},
		"foreign":                   {packet(udp, "2001:db8::7", "2001:db8::1", 0), false},
		"loopback":                  {packet(udp, "::1", "2001:db8::1", 0), false},
		"mapped guest":              {packet(udp, "::ffff:10.0.2.2", "2001:db8::1", 0), false},
		"cut off":                   {packet(udp, "fd0a:bc::2", "2001:db8::1", 0)[:39], false},
		"question for the gateway":  {packet(icmp, "fe80::2", "ff02::1:ff00:1", solicit("fe80::1")...), true},
		"question for its address":  {packet(icmp, "fe80::2", "ff02::1:ff00:1", solicit("fd0a:bc::1")...), true},
		"duplicate detection":       {packet(icmp, "::", "ff02::1:ff00:2", solicit("fd0a:bc::2")...), false},
		"question, cut off":         {packet(icmp, "fe80::2", "ff02::1:ff00:1", solicit("fe80::1")[:20]...), false},
		"router advertisement":      {packet(icmp, "fe80::2", "ff02::1", 134, 0, 0, 0), false},
		"neighbour advertisement":   {packet(icmp, "fe80::2", "ff02::1", 136, 0, 0, 0), false},
		"redirect":                  {packet(icmp, "fe80::2", "fe80::1", 137, 0, 0, 0), false},
		"echo request to the world": {packet(icmp, "fd0a:bc::2", "2001:db8::1", 128, 0, 0, 0), true},
	} {
		require.Equal(t, c.want, p.admit(0x86dd, c.b), name)
	}
	cfg.Gateway6 = netip.Addr{}
	require.False(t, p.admit(0x86dd, packet(udp, "fd0a:bc::2", "2001:db8::1", 0)), "a network without IPv6")
}
