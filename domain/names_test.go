package domain_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func claim(name, addr string) domain.NameClaim {
	return domain.NameClaim{Name: name, Addr: netip.MustParseAddr(addr)}
}

func alias(name, addr string) domain.NameClaim {
	c := claim(name, addr)
	c.Alias = true
	return c
}

func TestContainerNames(t *testing.T) {
	compose := map[string]string{"com.docker.compose.project": "Shop", "com.docker.compose.service": "web"}
	for name, c := range map[string]struct {
		in   domain.ContainerFacts
		want []domain.NameClaim
	}{
		"plain": {
			domain.ContainerFacts{Name: "/Nginx", Networks: []domain.ContainerNetwork{{Name: "bridge", Addrs: addrs("172.17.0.2")}}},
			[]domain.NameClaim{claim("nginx", "172.17.0.2")},
		},
		"no address": {domain.ContainerFacts{Name: "/x", Networks: []domain.ContainerNetwork{{Name: "none", Addrs: []netip.Addr{{}}, Aliases: []string{"y"}}}}, nil},
		"networks in the order of their names, both families": {
			domain.ContainerFacts{Name: "x", Networks: []domain.ContainerNetwork{
				{Name: "b", Addrs: addrs("172.20.0.2", "fd00::2")}, {Name: "a", Addrs: addrs("172.19.0.2")},
			}},
			[]domain.NameClaim{claim("x", "172.19.0.2"), claim("x", "fd00::2")},
		},
		"compose with aliases": {
			domain.ContainerFacts{Name: "/shop-web-1", Labels: compose, Networks: []domain.ContainerNetwork{
				{Name: "shop_default", Addrs: addrs("172.18.0.3"), Aliases: []string{"web", "shop-web-1", "no good"}},
			}},
			[]domain.NameClaim{
				claim("shop-web-1", "172.18.0.3"), claim("web.shop", "172.18.0.3"),
				alias("web", "172.18.0.3"), alias("shop-web-1", "172.18.0.3"),
			},
		},
		"compose run": {
			domain.ContainerFacts{
				Name:     "/shop-web-run-1",
				Labels:   map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.oneoff": "True"},
				Networks: []domain.ContainerNetwork{{Name: "n", Addrs: addrs("172.18.0.4")}},
			},
			[]domain.NameClaim{claim("shop-web-run-1", "172.18.0.4")},
		},
		"addresses that nobody can reach": {
			domain.ContainerFacts{Name: "x", Networks: []domain.ContainerNetwork{{Name: "n", Addrs: addrs("127.0.0.1", "0.0.0.0", "fe80::1", "224.0.0.1")}}}, nil,
		},
		"names that cannot be asked for": {
			domain.ContainerFacts{Name: "/a..b", Networks: []domain.ContainerNetwork{{
				Name: "n", Addrs: addrs("172.18.0.4"), Aliases: []string{"", ".", "a b", strings.Repeat("x", 64), strings.Repeat("x.", 101) + "x", "ok_1"},
			}}},
			[]domain.NameClaim{alias("ok_1", "172.18.0.4")},
		},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, domain.ContainerNames(c.in)) })
	}
}

func TestContainerNamesAreBounded(t *testing.T) {
	n := domain.ContainerNetwork{Name: "n", Addrs: addrs("172.18.0.4")}
	for i := range 5000 {
		n.Aliases = append(n.Aliases, fmt.Sprint("alias", i))
	}
	require.Len(t, domain.ContainerNames(domain.ContainerFacts{Name: "x", Networks: []domain.ContainerNetwork{n}}), 256)
}

func TestNameTable(t *testing.T) {
	var t0 domain.NameTable
	require.Empty(t, t0.Lookup("web"))
	t1 := t0.Replace("a", []domain.NameClaim{claim("web.shop", "172.18.0.2"), alias("web", "172.18.0.2")})
	t2 := t1.Replace("b", []domain.NameClaim{claim("web.shop", "172.18.0.3"), alias("web", "172.18.0.3")})
	require.Equal(t, addrs("172.18.0.2", "172.18.0.3"), t2.Lookup("Web.Shop"))
	require.Equal(t, addrs("172.18.0.3"), t2.Remove("a").Lookup("web.shop"), "the replica that lives answers")
	require.Equal(t, addrs("172.18.0.2"), t1.Lookup("web.shop"), "an older table does not change")

	t3 := t2.Replace("c", []domain.NameClaim{claim("web", "172.17.0.9")})
	require.Equal(t, addrs("172.17.0.9"), t3.Lookup("web"), "a container's own name hides aliases")
	require.Equal(t, addrs("172.18.0.2", "172.18.0.3"), t3.Remove("c").Lookup("web"))

	t4 := t3.Replace("a", []domain.NameClaim{claim("other", "172.18.0.2")})
	require.Equal(t, addrs("172.18.0.3"), t4.Lookup("web.shop"), "names that were given up are gone")
	require.Equal(t, []string{"a", "b", "c"}, t4.Owners())
	require.Equal(t, []string{"other", "web", "web.shop"}, t4.Names())
	require.Empty(t, t4.Remove("a").Remove("b").Remove("c").Remove("d").Names())
}

// The table agrees with a plain list of claims, and old tables never change.
func TestNameTableModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 3))
	names, owners := []string{"a", "b", "c.d"}, []string{"o1", "o2", "o3", "o4"}
	type row struct {
		owner string
		claim domain.NameClaim
	}
	expect := func(model []row, name string) []netip.Addr {
		var own, al []netip.Addr
		for _, r := range model {
			if r.claim.Name != name {
				continue
			}
			list := &own
			if r.claim.Alias {
				list = &al
			}
			if !slices.Contains(*list, r.claim.Addr) {
				*list = append(*list, r.claim.Addr)
			}
		}
		if len(own) > 0 {
			return own
		}
		return al
	}
	name := func(model []row, addr netip.Addr) (string, bool) {
		var other, last string
		for _, r := range model { // in the order of age
			if r.claim.Addr != addr {
				continue
			}
			if !r.claim.Alias {
				return r.claim.Name, true
			}
			if last == "" {
				last = r.claim.Name
			}
			for _, o := range model {
				if o.owner == r.owner && !o.claim.Alias && other == "" {
					other = o.claim.Name
				}
			}
		}
		return cmp.Or(other, last), cmp.Or(other, last) != ""
	}
	var table domain.NameTable
	var model []row
	for range 3000 {
		owner := owners[rnd.IntN(len(owners))]
		var claims []domain.NameClaim
		for range rnd.IntN(4) {
			c := claim(names[rnd.IntN(3)], fmt.Sprintf("172.17.0.%d", 1+rnd.IntN(5)))
			c.Alias = rnd.IntN(3) == 0
			claims = append(claims, c)
		}
		before, was := table, [3][]netip.Addr{table.Lookup("a"), table.Lookup("b"), table.Lookup("c.d")}

		var held []domain.NameClaim
		for _, r := range model {
			if r.owner == owner {
				held = append(held, r.claim)
			}
		}
		if !slices.Equal(held, claims) { // the same again keeps its place
			model = slices.DeleteFunc(slices.Clone(model), func(r row) bool { return r.owner == owner })
			for _, c := range claims {
				model = append(model, row{owner, c})
			}
		}
		table = table.Replace(owner, claims)
		if rnd.IntN(4) == 0 { // a full list of what is there keeps everything in its place
			all := map[string][]domain.NameClaim{"empty": nil}
			for _, r := range model {
				all[r.owner] = append(all[r.owner], r.claim)
			}
			table = table.ReplaceAll(all)
		}
		for i := range 5 {
			addr := netip.AddrFrom4([4]byte{172, 17, 0, byte(1 + i)})
			want, wantOK := name(model, addr)
			got, ok := table.Reverse(addr)
			require.Equal(t, want, got)
			require.Equal(t, wantOK, ok)
		}
		for i, n := range names {
			require.Equal(t, expect(model, n), table.Lookup(n))
			require.Equal(t, expect(model, n), table.Lookup("x.y."+n), "below it")
			require.Equal(t, was[i], before.Lookup(n))
			require.Equal(t, len(expect(model, n)) > 0, slices.Contains(table.Names(), n), "no name without a claim")
		}
	}
}

func TestNameUnder(t *testing.T) {
	for _, c := range []struct {
		fqdn, domain, name string
		ok                 bool
	}{
		{"web.arcbox.local.", "arcbox.local", "web", true},
		{"Web.Shop.ArcBox.Local", "arcbox.local.", "web.shop", true},
		{"arcbox.local.", "arcbox.local", "", true},
		{"notarcbox.local.", "arcbox.local", "", false},
		{"example.com.", "arcbox.local", "", false},
		{".", "arcbox.local", "", false},
	} {
		name, ok := domain.NameUnder(c.fqdn, c.domain)
		require.Equal(t, c.ok, ok, c.fqdn)
		require.Equal(t, c.name, name, c.fqdn)
	}
}

func FuzzContainerNames(f *testing.F) {
	f.Add("/web", "svc", "proj", "alias", "172.17.0.2")
	f.Fuzz(func(t *testing.T, name, service, project, al, ip string) {
		a, _ := netip.ParseAddr(ip)
		claims := domain.ContainerNames(domain.ContainerFacts{
			Name:     name,
			Labels:   map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": service},
			Networks: []domain.ContainerNetwork{{Name: "n", Addrs: []netip.Addr{a}, Aliases: []string{al}}},
		})
		for _, c := range claims {
			require.Regexp(t, `^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$`, c.Name)
			require.True(t, c.Addr.IsValid())
		}
	})
}
