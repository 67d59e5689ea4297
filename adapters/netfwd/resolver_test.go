package netfwd

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

type table map[string][]netip.Addr

func (t table) Lookup(name string) ([]netip.Addr, bool) { a, ok := t[name]; return a, ok }

func addrs(s ...string) (out []netip.Addr) {
	for _, x := range s {
		out = append(out, netip.MustParseAddr(x))
	}
	return out
}

func TestLocalAnswers(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(txt(q, 10)) })
	hosts := filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte(
		"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 workstation workstation.lan\n192.0.2.8 Db.Example # the database\nbroken line\n"), 0o600))
	many := table{"web.shop.arcbox.local": addrs("172.18.0.2", "172.18.0.2"), "big.arcbox.local": nil}
	for i := range 200 {
		many["big.arcbox.local"] = append(many["big.arcbox.local"], netip.AddrFrom4([4]byte{172, 18, 1, byte(i)}))
	}
	r := newTestResolver(t, func(o *ResolverOptions) {
		o.Upstreams, o.Hosts, o.Names = []netip.AddrPort{u.at}, hosts, many
	})
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  []netip.Addr
	}{
		{"host.docker.internal", dns.TypeA, 0, addrs("10.0.2.1")},
		{"HOST.docker.Internal", dns.TypeA, 0, addrs("10.0.2.1")},
		{"host.docker.internal", dns.TypeAAAA, 0, addrs("fd0a:bc::1")},
		{"host.docker.internal", dns.TypeMX, 0, nil},
		{"gateway.docker.internal", dns.TypeA, 0, addrs("10.0.2.1")},
		{"web.shop.arcbox.local", dns.TypeA, 0, addrs("172.18.0.2")},
		{"web.shop.arcbox.local", dns.TypeAAAA, 0, nil}, // NODATA
		{"nope.arcbox.local", dns.TypeA, dns.RcodeNameError, nil},
		{"nope.arcbox.local", dns.TypeTXT, dns.RcodeNameError, nil},
		{"arcbox.local", dns.TypeA, dns.RcodeNameError, nil},
		{"db.example", dns.TypeA, 0, addrs("192.0.2.8")},
		{"db.example", dns.TypeAAAA, 0, nil},
		{"localhost", dns.TypeA, 0, addrs("127.0.0.1")},
		{"localhost", dns.TypeAAAA, 0, addrs("::1")},
		{"workstation.lan", dns.TypeA, 0, addrs("10.0.2.1")}, // the host, as the guest sees it
		{"workstation", dns.TypeAAAA, 0, nil},
	} {
		t.Run(c.name+" "+dns.TypeToString[c.qtype], func(t *testing.T) {
			for _, via := range []usernet.Transport{usernet.UDP, usernet.TCP} {
				m := resolve(t, r, question(c.name, c.qtype), via)
				require.Equal(t, c.rcode, m.Rcode)
				var got []netip.Addr
				for _, rr := range m.Answer {
					require.Equal(t, c.qtype, rr.Header().Rrtype)
					switch rr := rr.(type) {
					case *dns.A:
						a, _ := netip.AddrFromSlice(rr.A.To4())
						got = append(got, a)
					case *dns.AAAA:
						a, _ := netip.AddrFromSlice(rr.AAAA)
						got = append(got, a)
					}
				}
				require.Equal(t, c.want, got)
			}
		})
	}
	require.Zero(t, u.count(), "none of these leaves the host")

	q := question("big.arcbox.local", dns.TypeA)
	m := resolve(t, r, q, usernet.UDP)
	require.True(t, m.Truncated)
	m.Compress = true // as it came
	require.LessOrEqual(t, m.Len(), dns.MinMsgSize)
	require.Len(t, resolve(t, r, q, usernet.TCP).Answer, 200)
	q.SetEdns0(8192, false)
	m = resolve(t, r, q, usernet.UDP)
	require.Len(t, m.Answer, 200)
	require.NotNil(t, m.IsEdns0())

	// What only looks local goes out.
	for _, name := range []string{"notarcbox.local", "docker.internal", "arcbox.local.example"} {
		resolve(t, r, question(name, dns.TypeA), usernet.UDP)
	}
	resolve(t, r, question("db.example", dns.TypeMX), usernet.UDP)
	require.Equal(t, 4, u.count())
}

func TestNoIPv6Gateway(t *testing.T) {
	r := newTestResolver(t, func(o *ResolverOptions) { o.Gateways = addrs("10.0.2.1") })
	m := resolve(t, r, question("host.docker.internal", dns.TypeAAAA), usernet.UDP)
	require.Equal(t, dns.RcodeSuccess, m.Rcode)
	require.Empty(t, m.Answer)
}

func TestNewResolverRefuses(t *testing.T) {
	for _, o := range []ResolverOptions{
		{},
		{Gateways: addrs("10.0.2.1"), Domain: strings.Repeat("a", 64)},
		{Gateways: addrs("10.0.2.1"), Upstreams: []netip.AddrPort{{}}},
	} {
		_, err := NewResolver(o)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
}

func TestParseResolvConf(t *testing.T) {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	for _, c := range []struct {
		text string
		want upstreams
	}{
		{"", upstreams{local, 2 * time.Second, 2}},
		{"nameserver\nnameserver nonsense\nsearch lan\n", upstreams{local, 2 * time.Second, 2}},
		{"# no\n; no\nnameserver 192.0.2.1 # yes\nnameserver fe80::1%eth0\nnameserver [2001:db8::1]:5353\n", upstreams{[]netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("[2001:db8::1]:5353"),
		}, 2 * time.Second, 2}},
		{"options rotate timeout:1 attempts:3\n", upstreams{local, time.Second, 3}},
		{"options timeout:900 attempts:99\n", upstreams{local, 5 * time.Second, 4}},
		{"options timeout:0 attempts:-1 timeout:x\n", upstreams{local, 2 * time.Second, 2}},
		{"options timeout:99999999999999999999\n", upstreams{local, 2 * time.Second, 2}},
	} {
		got := parseResolvConf(c.text)
		require.Empty(t, cmp.Diff(c.want, got, cmp.AllowUnexported(upstreams{}),
			cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })), c.text)
	}
	require.Len(t, parseResolvConf(strings.Repeat("nameserver 192.0.2.1\n", 50)).servers, maxServers)
}
