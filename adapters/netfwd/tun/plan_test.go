package tun

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var (
	pool4, pool6   = netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("fd0a:bc:1::/48")
	guest4, guest6 = netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd0a:bc::2")
	host4, host6   = netip.MustParseAddr("10.0.2.254"), netip.MustParseAddr("fd0a:bc::fe")
	networks       = Networks{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd0a:bc::/64")},
		Guests:  []netip.Addr{guest4, guest6},
		Pools:   []netip.Prefix{pool4, pool6},
	}
	wanted = Settings{Owner: 1000, MTU: MTU, Addresses: []netip.Addr{host4, host6},
		Prefixes: []netip.Prefix{pool4, pool6, hostPrefix(guest4), hostPrefix(guest6)}}
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestHostAddress(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.0.2.0/24": "10.0.2.254", "10.0.2.0/29": "10.0.2.6", "192.168.0.0/16": "192.168.255.254",
		"10.1.2.128/25": "10.1.2.254", "fd0a:bc::/64": "fd0a:bc::fe",
	} {
		require.Equal(t, want, HostAddress(netip.MustParsePrefix(subnet)).String(), subnet)
	}
}

func TestNewSettings(t *testing.T) {
	s, err := NewSettings(networks, nil)
	require.NoError(t, err)
	s.Owner = wanted.Owner
	require.Equal(t, wanted, s)
	require.Equal(t, prefixes("172.16.0.0/12", "fd0a:bc:1::/48"), networks.Pools, "the argument is not changed")

	s, err = NewSettings(networks, prefixes("172.18.0.0/15", "172.20.0.0/14"))
	require.NoError(t, err)
	require.Equal(t, prefixes("172.18.0.0/15", "172.20.0.0/14", "10.0.2.2/32", "fd0a:bc::2/128"), s.Prefixes)

	for _, bad := range []string{"172.0.0.0/8", "192.168.0.0/16", "172.17.0.1/16", "::/0"} {
		_, err := NewSettings(networks, prefixes(bad))
		require.ErrorIs(t, err, domain.ErrInvalid, bad)
	}
	tiny := networks
	tiny.Subnets = prefixes("10.0.2.0/30", "fd0a:bc::/64")
	_, err = NewSettings(tiny, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
}

// device is one as Plan makes it.
func device(change func(*DeviceState)) *DeviceState {
	d := &DeviceState{Tun: true, Alias: Alias, Owner: 1000, MTU: MTU, Up: true, Addresses: []netip.Addr{host4, host6}}
	if change != nil {
		change(d)
	}
	return d
}

func ours(list ...netip.Prefix) []Route {
	// The kernel routes the device's own IPv6 address too.
	out := []Route{{hostPrefix(host6), Device}, {netip.MustParsePrefix("ff00::/8"), Device}, {netip.MustParsePrefix("192.168.1.0/24"), "eth0"}}
	for _, p := range list {
		out = append(out, Route{p, Device})
	}
	return out
}

func TestPlan(t *testing.T) {
	all := create(wanted)
	add := func(p netip.Prefix, a netip.Addr) Action { return Action{Kind: AddRoute, Prefix: p, Source: a} }
	anew := append([]Action{{Kind: RemoveDevice}}, all...)
	for name, c := range map[string]struct {
		state State
		want  []Action
	}{
		"nothing there": {State{}, all},
		"all there":     {State{Device: device(nil), Routes: ours(wanted.Prefixes...)}, nil},
		"a route is missing": {State{Device: device(nil), Routes: ours(pool4, hostPrefix(guest4), hostPrefix(guest6))},
			[]Action{add(pool6, host6)}},
		"a route is too many": {State{Device: device(nil), Routes: ours(append(prefixes("172.0.0.0/12"), wanted.Prefixes...)...)}, anew},
		"down": {State{Device: device(func(d *DeviceState) { d.Up = false })},
			[]Action{{Kind: SetUp}, add(pool4, host4), add(pool6, host6), add(hostPrefix(guest4), host4), add(hostPrefix(guest6), host6)}},
		"another MTU": {State{Device: device(func(d *DeviceState) { d.MTU = 1500 }), Routes: ours(wanted.Prefixes...)},
			[]Action{{Kind: SetMTU, MTU: MTU}}},
		"an address is missing": {State{Device: device(func(d *DeviceState) { d.Addresses = d.Addresses[1:] }), Routes: ours(wanted.Prefixes...)},
			[]Action{{Kind: AddAddress, Address: host4}}},
		"a link-local address": {State{Device: device(func(d *DeviceState) {
			d.RandomAddr, d.Addresses = true, append(d.Addresses, netip.MustParseAddr("fe80::1"))
		}), Routes: ours(append(prefixes("fe80::/64"), wanted.Prefixes...)...)}, []Action{{Kind: SetNoLinkLocal}}},
		"another owner":   {State{Device: device(func(d *DeviceState) { d.Owner = 1 }), Routes: ours(wanted.Prefixes...)}, anew},
		"another address": {State{Device: device(func(d *DeviceState) { d.Addresses[0] = guest4 }), Routes: ours(wanted.Prefixes...)}, anew},
		"no tun device":   {State{Device: device(func(d *DeviceState) { d.Tun = false })}, anew},
		"systemd":         {State{Systemd: true, IP: "/usr/sbin/ip"}, append(all[:len(all):len(all)], Action{Kind: WriteUnit, Unit: Unit("/usr/sbin/ip", all)})},
		"systemd, the unit is there": {State{Systemd: true, IP: "/usr/sbin/ip", Unit: Unit("/usr/sbin/ip", all), Device: device(nil), Routes: ours(wanted.Prefixes...)},
			nil},
		"no IPv6": {State{NoIPv6: true, Routes: []Route{{netip.MustParsePrefix("fd0a:bc:1:2::/64"), "eth0"}}}, create(Settings{Owner: 1000, MTU: MTU,
			Addresses: []netip.Addr{host4}, Prefixes: []netip.Prefix{pool4, hostPrefix(guest4)}})},
		"systemd without ip": {State{Systemd: true}, all},
		"default routes and a VPN's halves": {State{Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), "eth0"}, {netip.MustParsePrefix("128.0.0.0/1"), "vpn0"},
			{netip.MustParsePrefix("172.15.0.0/16"), "eth1"}, {netip.MustParsePrefix("fd0a:bc:2::/48"), "eth1"}}}, all},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Plan(c.state, wanted)
			require.NoError(t, err)
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	route := func(p, dev string) []Route { return []Route{{netip.MustParsePrefix(p), dev}} }
	for name, c := range map[string]struct {
		state      State
		text, hint string
	}{
		"docker on the host": {State{Routes: route("172.17.0.0/16", "docker0")}, "172.17.0.0/16 dev docker0 overlaps 172.16.0.0/12",
			"--pool 172.16.0.0/16 --pool 172.18.0.0/15 --pool 172.20.0.0/14 --pool 172.24.0.0/13 --pool fd0a:bc:1::/48"},
		"a wider route":     {State{Routes: route("172.0.0.0/8", "eth0")}, "172.0.0.0/8 dev eth0 overlaps 172.16.0.0/12", "--pool fd0a:bc:1::/48"},
		"a blackhole":       {State{Routes: route("172.20.0.0/16", "")}, "172.20.0.0/16 overlaps 172.16.0.0/12", "--pool 172.16.0.0/14"},
		"IPv6":              {State{Routes: route("fd0a:bc:1:2::/64", "eth0")}, "fd0a:bc:1:2::/64 dev eth0 overlaps fd0a:bc:1::/48", "--pool 172.16.0.0/12"},
		"the guest":         {State{Routes: route("10.0.2.0/24", "eth0")}, "10.0.2.0/24 dev eth0 overlaps 10.0.2.2/32", "network.subnet"},
		"foreign interface": {State{Device: device(func(d *DeviceState) { d.Alias = "" })}, "arcbox0 is not ArcBox's", "ip link delete"},
		"foreign unit":      {State{Systemd: true, IP: "/sbin/ip", Unit: "[Unit]\n"}, "arcbox-network.service is there and not ArcBox's", ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := Plan(c.state, wanted)
			require.ErrorIs(t, err, domain.ErrConflict)
			require.ErrorContains(t, err, c.text)
			require.Contains(t, domain.Hint(err), c.hint)
			require.Empty(t, plan)
		})
	}
}

func TestPlanRemoval(t *testing.T) {
	unit := Unit("/sbin/ip", create(wanted))
	for name, c := range map[string]struct {
		state State
		want  []Action
	}{
		"nothing":        {State{}, nil},
		"all":            {State{Device: device(nil), Unit: unit}, []Action{{Kind: RemoveUnit}, {Kind: RemoveDevice}}},
		"a foreign unit": {State{Device: device(nil), Unit: "[Unit]"}, []Action{{Kind: RemoveDevice}}},
	} {
		got, err := PlanRemoval(c.state)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := PlanRemoval(State{Device: device(func(d *DeviceState) { d.Alias = "lab" })})
	require.ErrorIs(t, err, domain.ErrConflict)
}

func TestExecute(t *testing.T) {
	plan := create(wanted)
	steps, err := execute(plan, "unit", false, false, "arcbox network install", func(Action) error { t.Fatal("without root"); return nil })
	require.ErrorIs(t, err, domain.ErrPermission)
	require.Equal(t, "sudo arcbox network install", domain.Hint(err))
	require.Empty(t, steps)

	steps, err = execute(plan, "unit", true, false, "", func(Action) error { t.Fatal("a dry run"); return nil })
	require.NoError(t, err)
	require.Equal(t, "ip tuntap add dev arcbox0 mode tun user 1000", steps[0])
	require.Contains(t, steps, "ip route add 172.16.0.0/12 dev arcbox0 src 10.0.2.254")

	done := 0
	steps, err = execute(plan, "unit", false, true, "", func(Action) error {
		if done++; done == 3 {
			return domain.ErrUnavailable
		}
		return nil
	})
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.Len(t, steps, 2, "what was done is said")
	require.Equal(t, 3, done)
}

func TestUnit(t *testing.T) {
	u := Unit("/usr/sbin/ip", create(wanted))
	require.True(t, IsOurUnit(u))
	require.False(t, IsOurUnit("#"+u))
	require.Contains(t, u, "ExecStart=-/usr/sbin/ip tuntap add dev arcbox0 mode tun user 1000\nExecStart=/usr/sbin/ip link set dev arcbox0 alias arcbox\n")
	require.Contains(t, u, "ExecStart=-/usr/sbin/ip -6 route add fd0a:bc:1::/48 dev arcbox0 src fd0a:bc::fe\n")
	for line := range strings.Lines(u) {
		require.NotContains(t, line, "%", "a specifier of systemd")
	}
}

// FuzzFree: what is left has no address of the hole, and no other is lost.
func FuzzFree(f *testing.F) {
	f.Add([]byte{172, 17, 0, 0}, 16, []byte{172, 20, 1, 2})
	f.Add([]byte{172, 0, 0, 0}, 8, []byte{172, 31, 255, 255})
	f.Add([]byte{172, 31, 255, 255}, 32, []byte{172, 31, 255, 254})
	f.Fuzz(func(t *testing.T, hole []byte, bits int, probe []byte) {
		h, ok := netip.AddrFromSlice(hole)
		a, ok2 := netip.AddrFromSlice(probe)
		if !ok || !ok2 || !h.Is4() || !a.Is4() {
			return
		}
		p, err := h.Prefix(bits)
		if err != nil || bits < 2 {
			return
		}
		left := Free([]netip.Prefix{pool4}, Overlaps([]Route{{Prefix: p, Device: "x"}}, []netip.Prefix{pool4}))
		in := 0
		for _, l := range left {
			if l.Contains(a) {
				in++
			}
		}
		want := 0
		if pool4.Contains(a) && !p.Contains(a) {
			want = 1
		}
		if in != want {
			t.Fatalf("%s without %s = %v has %s %d times", pool4, p, left, a, in)
		}
	})
}
