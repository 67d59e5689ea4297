package dns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// table is a small port.Names over the domain's.
type table struct{ domain.NameTable }

func (t table) Lookup(name string) ([]netip.Addr, bool) {
	a := t.NameTable.Lookup(name)
	return a, len(a) > 0
}

// container makes a table with one more container.
func (t table) container(name string, of ...netip.Addr) table {
	var claims []domain.NameClaim
	for _, a := range of {
		claims = append(claims, domain.NameClaim{Name: name, Addr: a})
	}
	return table{t.Replace(name, claims)}
}

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
	names := table{}.container("web.shop", addrs("172.18.0.2")...).container("six", addrs("fd0a:bc:1::2")...)
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{172, 18, 1, byte(i)}))
	}
	names = names.container("big", many...)
	r := newTestResolver(t, func(o *Options) {
		o.Upstreams, o.Hosts, o.Names = []netip.AddrPort{u.at}, hosts, names
	})
	onHost := newTestResolver(t, func(o *Options) {
		o.Upstreams, o.Hosts, o.Names, o.View = []netip.AddrPort{u.at}, hosts, names, HostView()
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
		{"host.docker.internal", dns.TypeANY, 0, addrs("10.0.2.1", "fd0a:bc::1")},
		{"host.docker.internal", dns.TypeMX, 0, nil},
		{"gateway.docker.internal", dns.TypeA, 0, addrs("10.0.2.1")},
		{"host", dns.TypeA, 0, addrs("10.0.2.1")},
		{"host.arcbox.local", dns.TypeA, 0, addrs("10.0.2.1")},
		{"web.shop.arcbox.local", dns.TypeA, 0, addrs("172.18.0.2")},
		{"Web.Shop.ArcBox.Local", dns.TypeA, 0, addrs("172.18.0.2")},
		{"api.v1.web.shop.arcbox.local", dns.TypeA, 0, addrs("172.18.0.2")},
		{"web.shop.arcbox.local", dns.TypeAAAA, 0, nil}, // NODATA
		{"web.shop.arcbox.local", dns.TypeHTTPS, 0, nil},
		{"six.arcbox.local", dns.TypeA, 0, nil},
		{"six.arcbox.local", dns.TypeAAAA, 0, addrs("fd0a:bc:1::2")},
		{"nope.arcbox.local", dns.TypeA, dns.RcodeNameError, nil},
		{"nope.arcbox.local", dns.TypeTXT, dns.RcodeNameError, nil},
		{`a\.shop.arcbox.local`, dns.TypeA, dns.RcodeNameError, nil},
		{`x\.web.shop.arcbox.local`, dns.TypeA, dns.RcodeNameError, nil}, // "x.web" is one label
		{"arcbox.local", dns.TypeA, 0, nil},
		{"db.example", dns.TypeA, 0, addrs("192.0.2.8")},
		{"db.example", dns.TypeAAAA, 0, nil},
		{"localhost", dns.TypeA, 0, addrs("127.0.0.1")},
		{"localhost", dns.TypeAAAA, 0, addrs("::1")},
		{"app.localhost", dns.TypeA, 0, addrs("127.0.0.1")},
		{"workstation.lan", dns.TypeA, 0, addrs("10.0.2.1")}, // the host, as the guest sees it
		{"workstation", dns.TypeAAAA, 0, nil},
	} {
		t.Run(c.name+" "+dns.TypeToString[c.qtype], func(t *testing.T) {
			for _, via := range []domain.Protocol{domain.UDP, domain.TCP} {
				m := resolve(t, r, question(c.name, c.qtype), via)
				require.Equal(t, c.rcode, m.Rcode)
				require.Equal(t, c.want, answered(m))
				require.True(t, m.Authoritative)
				if len(m.Answer) == 0 { // or it would not be kept, and asked for again and again
					require.Len(t, m.Ns, 1)
					require.Equal(t, dns.TypeSOA, m.Ns[0].Header().Rrtype)
					require.True(t, dns.IsSubDomain(m.Ns[0].Header().Name, m.Question[0].Name))
				}
			}
		})
	}
	for name, want := range map[string][]netip.Addr{
		"host.docker.internal": addrs("127.0.0.1"), "gateway.docker.internal": addrs("127.0.0.1"), "workstation": addrs("127.0.1.1"),
		"web.shop.arcbox.local": addrs("172.18.0.2"), "host.arcbox.local": addrs("127.0.0.1"),
	} {
		require.Equal(t, want, answered(resolve(t, onHost, question(name, dns.TypeA), domain.UDP)), name)
	}
	require.Equal(t, addrs("::1"), answered(resolve(t, onHost, question("host.docker.internal", dns.TypeAAAA), domain.UDP)))
	require.Zero(t, u.count(), "none of these leaves the host")

	q := question("big.arcbox.local", dns.TypeA)
	m := resolve(t, r, q, domain.UDP)
	require.True(t, m.Truncated)
	m.Compress = true // as it came
	require.LessOrEqual(t, m.Len(), dns.MinMsgSize)
	require.Len(t, resolve(t, r, q, domain.TCP).Answer, 200)
	q.SetEdns0(8192, false)
	m = resolve(t, r, q, domain.UDP)
	require.Len(t, m.Answer, 200)
	require.NotNil(t, m.IsEdns0())

	// What only looks local goes out.
	for _, name := range []string{"notarcbox.local", "docker.internal", "arcbox.local.example"} {
		resolve(t, r, question(name, dns.TypeA), domain.UDP)
	}
	resolve(t, r, question("db.example", dns.TypeMX), domain.UDP)
	require.Equal(t, 4, u.count())
}

// answered are the addresses of an answer.
func answered(m *dns.Msg) (got []netip.Addr) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			got = append(got, a)
		case *dns.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			got = append(got, a)
		}
	}
	return got
}

func TestNoIPv6Gateway(t *testing.T) {
	r := newTestResolver(t, func(o *Options) { o.View = GuestView(addrs("10.0.2.1")...) })
	m := resolve(t, r, question("host.docker.internal", dns.TypeAAAA), domain.UDP)
	require.Equal(t, dns.RcodeSuccess, m.Rcode)
	require.Empty(t, m.Answer)
}

func TestNewResolverRefuses(t *testing.T) {
	for _, o := range []Options{
		{},
		{View: GuestView(addrs("10.0.2.1")...), Domain: strings.Repeat("a", 64)},
		{View: HostView(), Domain: "a..b"},
		{View: GuestView(addrs("10.0.2.1")...), Upstreams: []netip.AddrPort{{}}},
	} {
		_, err := New(o)
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

func TestReverse(t *testing.T) {
	u := newUpstream(t, rcode(dns.RcodeNameError))
	names := table{}.container("web", addrs("172.18.0.2", "fd0a:bc:1::2")...).container("lan", addrs("192.0.2.7")...)
	r := newTestResolver(t, func(o *Options) { o.Upstreams, o.Names = []netip.AddrPort{u.at}, names })
	for _, c := range []struct {
		name  string
		qtype uint16
		rcode int
		want  string
		zone  string
	}{
		{"2.0.18.172.in-addr.arpa", dns.TypePTR, 0, "web.arcbox.local.", ""},
		{"2.0.18.172.IN-ADDR.arpa", dns.TypePTR, 0, "web.arcbox.local.", ""},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.c.b.0.0.a.0.d.f.ip6.arpa", dns.TypePTR, 0, "web.arcbox.local.", ""},
		{"7.2.0.192.in-addr.arpa", dns.TypePTR, 0, "lan.arcbox.local.", ""}, // outside the pools, and a container all the same
		{"1.2.0.10.in-addr.arpa", dns.TypePTR, 0, "host.docker.internal.", ""},
		{"2.0.18.172.in-addr.arpa", dns.TypeA, 0, "", "2.0.18.172.in-addr.arpa."},
		{"3.0.18.172.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", "18.172.in-addr.arpa."},
		{"3.0.31.172.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, "", "31.172.in-addr.arpa."},
		{"3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.c.b.0.0.a.0.d.f.ip6.arpa", dns.TypePTR, dns.RcodeNameError, "", "1.0.0.0.c.b.0.0.a.0.d.f.ip6.arpa."},
		{"18.172.in-addr.arpa", dns.TypeNS, 0, "", "18.172.in-addr.arpa."},
	} {
		m := resolve(t, r, question(c.name, c.qtype), domain.UDP)
		require.Equal(t, c.rcode, m.Rcode, c.name)
		if c.want == "" {
			require.Empty(t, m.Answer, c.name)
			require.Equal(t, c.zone, m.Ns[0].Header().Name)
			continue
		}
		require.Equal(t, c.want, m.Answer[0].(*dns.PTR).Ptr, c.name)
	}
	require.Zero(t, u.count(), "none of these leaves the host")
	out := []string{"8.8.8.8.in-addr.arpa", "3.0.32.172.in-addr.arpa", "172.in-addr.arpa", "x.0.18.172.in-addr.arpa",
		"02.0.18.172.in-addr.arpa", "1.2.3.0.18.172.in-addr.arpa", "home.arpa"}
	for _, name := range out {
		resolve(t, r, question(name, dns.TypePTR), domain.UDP)
	}
	require.Equal(t, len(out), u.count())
}

func TestWhatIsRefused(t *testing.T) {
	u := newUpstream(t, rcode(dns.RcodeSuccess))
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
	require.Equal(t, dns.RcodeRefused, resolve(t, r, question("arcbox.local", dns.TypeAXFR), domain.TCP).Rcode)
	require.Equal(t, dns.RcodeRefused, resolve(t, r, question("example.com", dns.TypeAXFR), domain.TCP).Rcode)
	chaos := question("web.arcbox.local", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	require.Equal(t, dns.RcodeRefused, resolve(t, r, chaos, domain.UDP).Rcode)
	future := question("host", dns.TypeA)
	future.SetEdns0(1232, true)
	future.IsEdns0().SetVersion(1)
	m := resolve(t, r, future, domain.UDP)
	require.Equal(t, dns.RcodeBadVers, m.Rcode)
	require.True(t, m.IsEdns0().Do(), "RFC 3225 section 3")
	require.Zero(t, u.count())
}

func TestTheDomainItself(t *testing.T) {
	r := newTestResolver(t, func(o *Options) { o.Domain = "Box.Test." })
	m := resolve(t, r, question("box.test", dns.TypeSOA), domain.UDP)
	require.Equal(t, "box.test.", m.Answer[0].(*dns.SOA).Hdr.Name)
	require.Equal(t, dns.RcodeNameError, resolve(t, r, question("x.box.test", dns.TypeA), domain.UDP).Rcode)
}

// Every address that is written as a name is read as itself.
func FuzzParseReverse(f *testing.F) {
	for _, s := range []string{"2.0.18.172.in-addr.arpa", "1.ip6.arpa", "in-addr.arpa", ".in-addr.arpa", "+1.in-addr.arpa", "1..in-addr.arpa"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, ok := parseReverse(canonical(name))
		if ok && (p.Masked() != p || reverseZone(p) != canonical(name)) {
			t.Fatalf("%q is %s is %q", name, p, reverseZone(p))
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	claims := map[string][]domain.NameClaim{}
	for i := range 10_000 {
		name := fmt.Sprintf("container-%d", i)
		claims[name] = []domain.NameClaim{{Name: name, Addr: netip.AddrFrom4([4]byte{172, 18, byte(i >> 8), byte(i)})}}
	}
	r, err := New(Options{View: HostView(), Names: table{domain.NameTable{}.ReplaceAll(claims)}})
	require.NoError(b, err)
	for name, q := range map[string]*dns.Msg{
		"A":       question("container-4711.arcbox.local", dns.TypeA),
		"unknown": question("nobody.arcbox.local", dns.TypeA),
		"PTR":     question("103.18.18.172.in-addr.arpa", dns.TypePTR),
	} {
		query, err := q.Pack()
		require.NoError(b, err)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(b.Context(), query, domain.UDP); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
