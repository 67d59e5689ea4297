package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func servers(s ...string) (out []netip.AddrPort) {
	for _, x := range s {
		out = append(out, netip.MustParseAddrPort(x))
	}
	return out
}

func TestParseResolverFile(t *testing.T) {
	up := func(timeout time.Duration, s ...string) upstreams {
		return upstreams{servers: servers(s...), timeout: timeout, attempts: 2}
	}
	for text, want := range map[string]route{
		"nameserver 192.0.2.1\n": {"corp.example", 0, up(2*time.Second, "192.0.2.1:53")},
		"nameserver 127.0.0.1\nport 5553\nsearch_order 1\ntimeout 5\n":  {"corp.example", 1, up(5*time.Second, "127.0.0.1:5553")},
		"port 54\nnameserver 192.0.2.1.55\nnameserver fe80::1%en0\n":    {"corp.example", 0, up(2*time.Second, "192.0.2.1:55", "[fe80::1%en0]:54")},
		"nameserver fe80::1.55\nport 0\nport x\n":                       {"corp.example", 0, up(2*time.Second, "[fe80::1]:55")},
		"domain Other.Example.\nnameserver 192.0.2.1\ntimeout 999999\n": {"other.example", 0, up(5*time.Second, "192.0.2.1:53")},
		"nameserver 192.0.2.1 # ours\noptions attempts:1\n": {"corp.example", 0,
			upstreams{servers: servers("192.0.2.1:53"), timeout: 2 * time.Second, attempts: 1}},
	} {
		got, ok := parseResolverFile("Corp.Example", text)
		require.True(t, ok, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "options mdns\n", "nameserver nonsense\nnameserver 1.2.3.4.0\nnameserver 1.2.3.4.70000\n", "nameserver\n"} {
		_, ok := parseResolverFile("x", text)
		require.False(t, ok, text)
	}
}

func TestRouteOf(t *testing.T) {
	routes := []route{{domain: "example", order: 3}, {domain: "b.example", order: 2}, {domain: "example", order: 1}}
	for i := range routes {
		routes[i].up.attempts = i
	}
	for name, want := range map[string]int{"example": 2, "a.example": 2, "b.example": 1, "c.b.example": 1} {
		up, ok := routeOf(name, routes)
		require.True(t, ok, name)
		require.Equal(t, want, up.attempts, name)
	}
	for _, name := range []string{"", "com", "notexample", "example.com"} {
		_, ok := routeOf(name, routes)
		require.False(t, ok, name)
	}
}

// The names of a VPN go where the host sends them, as long as it does.
func TestSplitNames(t *testing.T) {
	everywhere, vpn := newUpstream(t, rcode(dns.RcodeNameError)), newUpstream(t, rcode(dns.RcodeSuccess))
	dir := t.TempDir()
	r := newTestResolver(t, func(o *Options) { o.ResolvConf, o.ResolverDir = writeConf(t, "", everywhere.at), dir })
	ask := func(name string) int { return resolve(t, r, question(name, dns.TypeMX), domain.UDP).Rcode }
	require.Equal(t, dns.RcodeNameError, ask("db.corp.example"))
	file := filepath.Join(dir, "corp.example")
	require.NoError(t, os.WriteFile(file, []byte("nameserver "+vpn.at.Addr().String()+"."+itoa(vpn.at.Port())+"\n"), 0o600))
	require.Equal(t, dns.RcodeSuccess, ask("DB.corp.example"))
	require.Equal(t, dns.RcodeNameError, ask("example"))
	require.NoError(t, os.Remove(file))
	require.Equal(t, dns.RcodeNameError, ask("db.corp.example"))
}

func itoa(p uint16) string {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), p).String()[len("0.0.0.0:"):]
}

// A query that came back to us would be asked again until its deadline.
func TestNoUpstreamIsOurselves(t *testing.T) {
	o := Options{Own: servers("127.0.0.1:53", "[::1]:53"), ResolvConf: filepath.Join(t.TempDir(), "resolv.conf")}
	s, err := newSources(o)
	require.NoError(t, err)
	require.Empty(t, s.of("example").servers, "the default is the host's loopback")
	text := "nameserver 0.0.0.0\nnameserver ::\nnameserver ::ffff:127.0.0.1\nnameserver 127.0.0.53\n"
	require.NoError(t, os.WriteFile(o.ResolvConf, []byte(text), 0o600))
	require.Equal(t, servers("127.0.0.53:53"), s.of("example").servers)

	r := newTestResolver(t, func(o *Options) { o.Own = servers("127.0.0.1:53") })
	start := time.Now()
	require.Equal(t, dns.RcodeServerFailure, resolve(t, r, question("a.example", dns.TypeA), domain.UDP).Rcode)
	require.Less(t, time.Since(start), time.Second)
}

func FuzzFiles(f *testing.F) {
	for _, s := range []string{"nameserver 192.0.2.1\noptions timeout:1\n", "nameserver fe80::1%x.99\nport 7\n", "127.0.0.1 a b # c\n", "domain .\nnameserver ::\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, _ := parseResolverFile("x", text)
		for _, up := range []upstreams{parseResolvConf(text), r.up} {
			if len(up.servers) > maxServers || up.timeout > longestTimeout || up.timeout <= 0 || up.attempts > mostAttempts || up.attempts < 1 {
				t.Fatalf("%q: %+v", text, up)
			}
			if slices.ContainsFunc(up.servers, func(a netip.AddrPort) bool { return !a.IsValid() || a.Port() == 0 }) {
				t.Fatalf("%q: %v", text, up.servers)
			}
		}
		for name, addrs := range parseHosts(text) {
			if name != canonical(name) || len(addrs) == 0 {
				t.Fatalf("%q: %q %v", text, name, addrs)
			}
		}
	})
}
