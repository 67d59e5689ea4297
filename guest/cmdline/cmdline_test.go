package cmdline

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestParseReadsEveryKey(t *testing.T) {
	got, err := Parse("console=ttyS0 root=/dev/vda arcbox.ip=10.0.2.2/24 arcbox.gateway=10.0.2.1 " +
		"arcbox.ip6=fd00:a:b::2/64 arcbox.gateway6=fd00:a:b::1 arcbox.mtu=65520 arcbox.hostname=dev-1 " +
		"arcbox.guest_docker_vsock_port=2376 arcbox.docker_data_device=/dev/vdd arcbox.future=1 quiet\n")
	require.NoError(t, err)
	want := Config{
		IP: netip.MustParsePrefix("10.0.2.2/24"), IP6: netip.MustParsePrefix("fd00:a:b::2/64"),
		Gateway: netip.MustParseAddr("10.0.2.1"), Gateway6: netip.MustParseAddr("fd00:a:b::1"),
		DNS:         []netip.Addr{netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("fd00:a:b::1")},
		MTU:         65520,
		Hostname:    "dev-1",
		DockerPort:  2376,
		DataDevice:  "/dev/vdd",
		UnknownKeys: []string{"arcbox.future"},
	}
	require.Empty(t, cmp.Diff(want, got, comparable))
}

func TestParseDefaults(t *testing.T) {
	got, err := Parse("")
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(Config{MTU: 1500, Hostname: "arcbox", DockerPort: 2375, DataDevice: "/dev/vdb"}, got, comparable))
}

func TestParseKeepsTheDefaultOfABadKeyAndNamesIt(t *testing.T) {
	for _, bad := range []string{
		"arcbox.ip=10.0.2.2", "arcbox.ip=fd00::2/64", "arcbox.ip=10.0.2.2/0", "arcbox.ip6=10.0.2.2/24",
		"arcbox.gateway=fd00::1", "arcbox.gateway=x", "arcbox.gateway=127.0.0.1", "arcbox.gateway6=fe80::1%eth0",
		"arcbox.dns=a", "arcbox.dns=1.1.1.1,2.2.2.2,3.3.3.3,4.4.4.4",
		"arcbox.mtu=0", "arcbox.mtu=65536", "arcbox.mtu=big",
		"arcbox.hostname=", "arcbox.hostname=a.b", "arcbox.hostname=-a",
		"arcbox.guest_docker_vsock_port=0", "arcbox.guest_docker_vsock_port=1024", "arcbox.guest_docker_vsock_port=4294967295",
		"arcbox.docker_data_device=/dev/../etc", "arcbox.docker_data_device=vdb", "arcbox.docker_data_device=/dev/",
		"arcbox.gateway=10.0.2.1",
	} {
		t.Run(bad, func(t *testing.T) {
			got, err := Parse(bad)
			require.ErrorContains(t, err, bad[:len("arcbox.ip")])
			require.Empty(t, cmp.Diff(Config{MTU: 1500, Hostname: "arcbox", DockerPort: 2375, DataDevice: "/dev/vdb"}, got, comparable))
		})
	}
}

func TestParseStopsAtInitArguments(t *testing.T) {
	got, err := Parse("arcbox.mtu=9000 -- arcbox.mtu=2000")
	require.NoError(t, err)
	require.Equal(t, 9000, got.MTU)
}

func FuzzParse(f *testing.F) {
	f.Add("arcbox.ip=10.0.2.2/24 arcbox.gateway=10.0.2.1 arcbox.mtu=65520 arcbox.dns=1.1.1.1")
	f.Fuzz(func(t *testing.T, line string) {
		c, _ := Parse(line)
		require.True(t, c.MTU >= minMTU && c.MTU <= maxMTU)
		require.NotEmpty(t, c.Hostname)
		require.NotZero(t, c.DockerPort)
		require.Regexp(t, `^/dev/[^/.]+$`, c.DataDevice)
		require.LessOrEqual(t, len(c.DNS), 3)
		if c.Gateway.IsValid() {
			require.True(t, c.IP.Masked().Contains(c.Gateway))
		}
	})
}
