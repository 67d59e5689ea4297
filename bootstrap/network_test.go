//go:build linux

package bootstrap

import (
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/cli"
	"arcbox/adapters/netfwd/tun"
	"arcbox/domain"
)

func TestHostNetworkOwner(t *testing.T) {
	me, err := user.Current()
	require.NoError(t, err)
	environ := map[string]string{}
	h := newHostNetwork(func([]string) (Config, error) { return DefaultConfig(), nil })
	h.environ = func(k string) string { return environ[k] }
	for _, name := range []string{"", me.Username, strconv.Itoa(os.Getuid())} {
		u, err := h.owner(name)
		require.NoError(t, err)
		require.Equal(t, me.Uid, u.Uid)
	}
	environ["SUDO_UID"] = "4294967001" // nobody has it
	_, err = h.owner("")
	require.ErrorIs(t, err, domain.ErrNotFound)
	_, err = h.owner("root")
	require.NoError(t, err, "a name wins over sudo's")
}

func TestHostNetworkSettings(t *testing.T) {
	c := DefaultConfig()
	c.Network.Subnet = "10.9.0.0/24"
	s, err := tun.NewSettings(c.tunNetworks(), nil)
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.9.0.254"), netip.MustParseAddr("fd0a:bc::fe")}, s.Addresses)
	require.Contains(t, s.Prefixes, netip.MustParsePrefix("10.9.0.2/32"))
	require.Contains(t, s.Prefixes, netip.MustParsePrefix("172.16.0.0/12"))
	require.Contains(t, s.Prefixes, netip.MustParsePrefix("fd0a:bc:1::/48"))
}

func TestHostNetworkBadPool(t *testing.T) {
	h := newHostNetwork(func([]string) (Config, error) { return DefaultConfig(), nil })
	for _, pool := range []string{"docker0", "10.0.0.0/8", "172.17.0.1/16"} {
		_, err := h.Install(cli.NetworkInstall{Pools: []string{pool}, DryRun: true})
		require.ErrorIs(t, err, domain.ErrInvalid, pool)
	}
}
