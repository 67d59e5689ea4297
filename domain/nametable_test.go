package domain_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestNamesBelowAName(t *testing.T) {
	table := domain.NameTable{}.ReplaceAll(map[string][]domain.NameClaim{
		"1": {claim("nginx", "172.17.0.2")},
		"2": {claim("shop-web-1", "172.17.0.3"), claim("web.shop", "172.17.0.3"), alias("web", "172.18.0.3")},
		"3": {claim("shop", "172.17.0.4")},
		"4": {claim("api.nginx", "172.17.0.5")},
	})
	for name, want := range map[string]string{
		"nginx": "172.17.0.2", "foo.nginx": "172.17.0.2", "A.B.Nginx": "172.17.0.2",
		"api.nginx": "172.17.0.5", "v1.api.nginx": "172.17.0.5",
		"x.web.shop": "172.17.0.3", "x.shop": "172.17.0.4", "x.web": "172.18.0.3",
		"nginx.foo": "", "xnginx": "", "": "", ".": "", "nginx.": "", "fo o": "",
		strings.Repeat("a.", 95) + "nginx":  "172.17.0.2",
		strings.Repeat("a.", 100) + "nginx": "", // longer than a name can be
	} {
		if want == "" {
			require.Empty(t, table.Lookup(name), name)
			continue
		}
		require.Equal(t, addrs(want), table.Lookup(name), name)
	}
}

func TestReverse(t *testing.T) {
	table := domain.NameTable{}.
		Replace("b", []domain.NameClaim{claim("shop-web-1", "172.18.0.2"), claim("web.shop", "172.18.0.2"), alias("web", "172.18.0.2"), alias("web", "172.19.0.2")}).
		Replace("a", []domain.NameClaim{claim("six", "fd00::2"), alias("late", "172.18.0.2")}).
		Replace("c", []domain.NameClaim{alias("only", "172.20.0.2"), alias("second", "172.20.0.2")})
	for addr, want := range map[string]string{
		"172.18.0.2": "shop-web-1", "::ffff:172.18.0.2": "shop-web-1", "fd00::2": "six",
		"172.19.0.2": "shop-web-1", // its second network has aliases only
		"172.20.0.2": "only",
		"172.18.0.9": "",
	} {
		got, ok := table.Reverse(netip.MustParseAddr(addr))
		require.Equal(t, want, got, addr)
		require.Equal(t, want != "", ok, addr)
	}
	got, _ := table.Remove("b").Reverse(netip.MustParseAddr("172.18.0.2"))
	require.Equal(t, "six", got)
	_, ok := table.Reverse(netip.Addr{})
	require.False(t, ok)
}

func TestReplaceAll(t *testing.T) {
	before := domain.NameTable{}.
		Replace("z", []domain.NameClaim{claim("web", "172.18.0.9")}).
		Replace("gone", []domain.NameClaim{claim("gone", "172.18.0.8")})
	after := before.ReplaceAll(map[string][]domain.NameClaim{
		"b": {claim("web", "172.18.0.2")}, "a": {claim("web", "172.18.0.1")}, "z": {claim("web", "172.18.0.9")}, "none": {},
	})
	require.Equal(t, addrs("172.18.0.9", "172.18.0.1", "172.18.0.2"), after.Lookup("web"), "who was there first, then by id")
	require.Equal(t, []string{"a", "b", "z"}, after.Owners())
	require.Equal(t, []string{"web"}, after.Names())
	_, ok := after.Reverse(netip.MustParseAddr("172.18.0.8"))
	require.False(t, ok)
	require.Equal(t, []string{"gone", "web"}, before.Names(), "an older table does not change")
	next := after.Replace("c", []domain.NameClaim{claim("web", "172.18.0.3")})
	require.Equal(t, "172.18.0.3", next.Lookup("web")[3].String(), "the newest comes last")
	require.Len(t, after.Lookup("web"), 3)
	require.Empty(t, after.ReplaceAll(nil).Owners())
}

func TestParseDomain(t *testing.T) {
	for in, want := range map[string]string{"arcbox.local": "arcbox.local", "ArcBox.Local.": "arcbox.local", "a-1": "a-1"} {
		got, err := domain.ParseDomain(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, in := range []string{"", ".", "a..b", ".a", "a..", "-a", "a-.b", "a_b", "/a", "a b", "a\n", "a=b", "*", "ä", strings.Repeat("a", 64), strings.Repeat("ab.", 17) + "ab"} {
		_, err := domain.ParseDomain(in)
		require.ErrorIs(t, err, domain.ErrInvalid, "%q", in)
	}
}

// A name is answered as the longest suffix of it that somebody claims.
func FuzzLookup(f *testing.F) {
	for _, s := range []string{"web", "x.web.shop", "..", "A.Web", strings.Repeat("a.", 120) + "web"} {
		f.Add(s)
	}
	claims := map[string][]domain.NameClaim{"1": {claim("web", "172.17.0.2")}, "2": {claim("web.shop", "172.17.0.3")}, "3": {alias("shop", "172.17.0.4")}}
	table := domain.NameTable{}.ReplaceAll(claims)
	f.Fuzz(func(t *testing.T, name string) {
		var want string
		var best int
		for _, c := range claims {
			n := c[0].Name
			low := strings.ToLower(name)
			if (low == n || strings.HasSuffix(low, "."+n)) && len(n) > best && len(name) <= 200 {
				want, best = c[0].Addr.String(), len(n)
			}
		}
		got := table.Lookup(name)
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0].String() != want) {
			t.Fatalf("%q: %v, want %q", name, got, want)
		}
	})
}

func manyClaims(n int) map[string][]domain.NameClaim {
	all := make(map[string][]domain.NameClaim, n)
	for i := range n {
		addr := netip.AddrFrom4([4]byte{172, 18, byte(i >> 8), byte(i)}).String()
		all[fmt.Sprintf("%064x", i)] = []domain.NameClaim{
			claim(fmt.Sprintf("shop-web-%d", i), addr), claim(fmt.Sprintf("web-%d.shop", i), addr), alias(fmt.Sprintf("web-%d", i), addr),
		}
	}
	return all
}

func BenchmarkNameTable(b *testing.B) {
	all := manyClaims(10_000)
	table := domain.NameTable{}.ReplaceAll(all)
	var owner string
	for owner = range all {
		break
	}
	b.Run("ReplaceAll", func(b *testing.B) {
		for b.Loop() {
			domain.NameTable{}.ReplaceAll(all)
		}
	})
	b.Run("Replace", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			table.Remove(owner).Replace(owner, all[owner]) // a container restarts
		}
	})
	b.Run("Lookup", func(b *testing.B) {
		for b.Loop() {
			table.Lookup("x.shop-web-4711")
		}
	})
	b.Run("Reverse", func(b *testing.B) {
		addr := netip.MustParseAddr("172.18.18.103")
		for b.Loop() {
			table.Reverse(addr)
		}
	})
}
