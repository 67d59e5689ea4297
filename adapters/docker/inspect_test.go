package docker

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func decode(t *testing.T, file string, v any) {
	t.Helper()
	p, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(p, v))
}

func TestFactsOfAnInspectedContainer(t *testing.T) {
	var i inspection
	decode(t, "testdata/inspect.json", &i)
	require.Equal(t, domain.ContainerFacts{
		ID: "f2b1d4c6a8e09b7d5c3f1a2e4d6b8c0f9e7d5b3a1c2e4f6a8b0d2c4e6f8a1b3c", Name: "shop-web-1", Running: true,
		Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.oneoff": "False"},
		Networks: []domain.ContainerNetwork{{Name: "back"}, {Name: "shop_default",
			Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd0a:bc:1::2")}, Aliases: []string{"web"}}},
		Requested: []domain.PortBinding{{Port: "53/udp", HostIP: "127.0.0.1"}, {Port: "80/tcp", HostPort: "8080"},
			{Port: "80/tcp", HostIP: "::1", HostPort: "9000-9010"}, {Port: "80/tcp"}, {Port: "8443/tcp"}},
	}, i.facts())

	i.State.Restarting = true
	require.False(t, i.facts().Running, "between two runs it has no address")
	require.Empty(t, i.facts().Networks)
}

func TestSubnetsOfTheEnginesOwnNetworks(t *testing.T) {
	var all []network
	decode(t, "testdata/networks.json", &all)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("172.18.0.0/16"),
		netip.MustParsePrefix("fd0a:bc:1::/64")}, subnets(all))
	require.NotNil(t, subnets(nil))
}

func TestFactsOfAListedContainer(t *testing.T) {
	var s summary
	require.NoError(t, json.Unmarshal([]byte(`{"Id":"`+strings.Repeat("a", 64)+`","Names":["/other/db","/web"],"HostConfig":{"NetworkMode":"bridge"},
		"NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}}}}`), &s))
	f := s.facts()
	require.Equal(t, "web", f.Name)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("172.17.0.2")}, f.Addrs())
}

func TestBindsOfAContainer(t *testing.T) {
	many := mounts{{"bind", "/srv/a"}, {"volume", "/var/lib/docker/volumes/v/_data"}, {"bind", "/srv/b/../c/"}, {"bind", "/srv/a"}, {"bind", "relative"},
		{"bind", ""}, {"tmpfs", ""}, {"bind", "/" + strings.Repeat("x", maxBindPath)}, {"bind", "/a b/ü"}}
	require.Equal(t, []string{"/srv/a", "/srv/c", "/a b/ü"}, many.binds())
	for i := range 2 * maxBinds {
		many = append(many, mounts{{"bind", fmt.Sprint("/", i)}}...)
	}
	require.Len(t, many.binds(), maxBinds)

	answer := `{"Id":"` + strings.Repeat("a", 64) + `","Mounts":[{"Type":"bind","Source":"/srv/a","Destination":"/a","Mode":"","RW":true,"Propagation":"rprivate"}]`
	var s summary
	require.NoError(t, json.Unmarshal([]byte(answer+"}"), &s))
	require.Equal(t, []string{"/srv/a"}, s.facts().Binds)
	var i inspection
	require.NoError(t, json.Unmarshal([]byte(answer+`,"State":{"Running":true}}`), &i))
	require.Equal(t, []string{"/srv/a"}, i.facts().Binds)
}

// FuzzInspect checks that no answer of a guest makes more than is bounded.
func FuzzInspect(f *testing.F) {
	p, err := os.ReadFile("testdata/inspect.json")
	require.NoError(f, err)
	f.Add(p)
	f.Add([]byte(`{"NetworkSettings":{"Networks":{"a":{"IPAddress":"fe80::1%eth0","Aliases":["` + strings.Repeat("x", 300) + `"]}}},"State":{"Running":true}}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		var i inspection
		if json.Unmarshal(p, &i) != nil {
			return
		}
		facts := i.facts()
		require.LessOrEqual(t, len(facts.Name), maxText)
		require.LessOrEqual(t, len(facts.Networks), maxNetworks)
		require.LessOrEqual(t, len(facts.Requested), maxRequested)
		require.LessOrEqual(t, len(facts.Binds), maxBinds)
		for _, b := range facts.Binds {
			require.True(t, len(b) <= maxBindPath && path.IsAbs(b) && path.Clean(b) == b, b)
		}
		for _, n := range facts.Networks {
			require.LessOrEqual(t, len(n.Aliases), maxAliases)
			for _, a := range n.Aliases {
				require.LessOrEqual(t, len(a), maxText)
			}
		}
		domain.ContainerNames(facts)
	})
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"Type":"container","Action":"die","Actor":{"ID":"` + strings.Repeat("a", 64) + `","Attributes":{"exitCode":"0"}},"scope":"local","time":1,"timeNano":1}`))
	f.Add([]byte(`{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"` + strings.Repeat("a", 64) + `"}}}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, ok, err := parseEvent(p)
		if err != nil {
			require.False(t, ok)
			require.ErrorIs(t, err, domain.ErrInvalid)
		}
		if ok && e.container != "" {
			require.True(t, domain.IsContainerID(e.container))
		}
	})
}
