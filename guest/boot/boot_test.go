//go:build linux

package boot

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"arcbox/guest/cmdline"
)

func TestParseMountinfo(t *testing.T) {
	got := ParseMountinfo("22 1 254:0 / / ro,relatime - erofs /dev/root ro,user_xattr\n" +
		"30 22 0:5 / /dev rw,nosuid shared:2 master:1 - devtmpfs devtmpfs rw\n" +
		"31 22 254:16 / /with\\040space rw - ext4 /dev/vdb rw\n" +
		"broken\n32 22 0:1 / - x\n")
	require.Equal(t, []Mount{
		{"/", "erofs", "/dev/root"},
		{"/dev", "devtmpfs", "devtmpfs"},
		{"/with space", "ext4", "/dev/vdb"},
	}, got)
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add("31 22 254:16 / /with\\040space rw - ext4 /dev/vdb rw\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range ParseMountinfo(s) {
			require.NotEmpty(t, m.Target)
			require.NotEmpty(t, m.FSType)
		}
	})
}

func TestUnderIsInTheOrderOfUnmounting(t *testing.T) {
	mounts := []Mount{{Target: "/data"}, {Target: "/var/lib/docker"}, {Target: "/database"}, {Target: "/var/lib/docker/x/merged"}}
	require.Equal(t, []Mount{{Target: "/var/lib/docker/x/merged"}, {Target: "/var/lib/docker"}, {Target: "/data"}},
		under(mounts, "/var/lib/docker", "/data"))
}

func TestApplyNamesWhatIsMissingUnlessOptional(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "a/b"), nil, 0o644))
	require.NoError(t, Apply(root, []Setting{{Key: "a.b", Value: "1"}, {Key: "no.thing", Value: "1", Optional: true}}))
	got, err := os.ReadFile(filepath.Join(root, "a/b"))
	require.NoError(t, err)
	require.Equal(t, "1\n", string(got))
	require.ErrorContains(t, Apply(root, []Setting{{Key: "no.thing", Value: "1"}}), "no.thing=1")
	require.NoFileExists(t, filepath.Join(root, "no/thing"))
}

// Every key must be one that a kernel has: a typing error would be silent for
// the optional ones.
func TestSettingsExist(t *testing.T) {
	for _, s := range Settings() {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(s.Key, ".", "/"))
		if _, err := os.Stat(path); err != nil && !strings.Contains(s.Key, "bridge-nf") && !strings.Contains(s.Key, "ipv6") {
			t.Errorf("%s: %v", s.Key, err)
		}
	}
}

func TestConfigureNetwork(t *testing.T) {
	// The thread keeps its new network, so it must not be used again.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("needs a network namespace of its own: ", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Uplink
	require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer0"}))
	peer, err := netlink.LinkByName("peer0")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(peer))

	c, err := cmdline.Parse("arcbox.ip=10.0.2.2/24 arcbox.gateway=10.0.2.1 arcbox.ip6=fd00:a:b::2/64 arcbox.gateway6=fd00:a:b::1 arcbox.mtu=9000")
	require.NoError(t, err)
	for range 2 { // a second time changes nothing
		require.NoError(t, ConfigureNetwork(c))
	}
	link, err := netlink.LinkByName(Uplink)
	require.NoError(t, err)
	require.Equal(t, 9000, link.Attrs().MTU)
	for family, want := range map[int]string{netlink.FAMILY_V4: "10.0.2.1", netlink.FAMILY_V6: "fd00:a:b::1"} {
		routes, err := netlink.RouteList(link, family)
		require.NoError(t, err)
		found := ""
		for _, r := range routes {
			if r.Gw != nil {
				found = r.Gw.String()
			}
		}
		require.Equal(t, want, found)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	require.NoError(t, err)
	found := false
	for _, a := range addrs {
		if a.IP.String() == "fd00:a:b::2" {
			found = true
			require.Zero(t, a.Flags&unix.IFA_F_TENTATIVE, "the address must be usable at once")
		}
	}
	require.True(t, found)

	require.ErrorContains(t, ConfigureNetwork(cmdline.Config{}), "arcbox.ip")
}

func TestResolvConf(t *testing.T) {
	require.Equal(t, "nameserver 10.0.2.1\noptions timeout:3 attempts:2\n", ResolvConf([]netip.Addr{netip.MustParseAddr("10.0.2.1")}))
}
