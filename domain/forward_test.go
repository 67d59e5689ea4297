package domain_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var target = netip.MustParseAddr("172.17.0.2")

func rule(proto domain.Protocol, host, to, owner string) domain.ForwardRule {
	return domain.ForwardRule{Protocol: proto, Host: netip.MustParseAddrPort(host), Target: netip.MustParseAddrPort(to), Owner: owner}
}

func TestForwardRules(t *testing.T) {
	for name, c := range map[string]struct {
		in   []domain.PortBinding
		want []domain.ForwardRule
	}{
		"none":     {},
		"IPv4":     {[]domain.PortBinding{{"80/tcp", "127.0.0.1", "8080"}}, []domain.ForwardRule{rule("tcp", "127.0.0.1:8080", "172.17.0.2:80", "c")}},
		"IPv6":     {[]domain.PortBinding{{"80/tcp", "::1", "8080"}}, []domain.ForwardRule{rule("tcp", "[::1]:8080", "172.17.0.2:80", "c")}},
		"brackets": {[]domain.PortBinding{{"80/tcp", "[::1]", "8080"}}, []domain.ForwardRule{rule("tcp", "[::1]:8080", "172.17.0.2:80", "c")}},
		"mapped":   {[]domain.PortBinding{{"80/tcp", "::ffff:127.0.0.1", "8080"}}, []domain.ForwardRule{rule("tcp", "127.0.0.1:8080", "172.17.0.2:80", "c")}},
		"default protocol, udp in capitals": {
			[]domain.PortBinding{{"53/UDP", "0.0.0.0", "53"}, {"53", "0.0.0.0", "53"}},
			[]domain.ForwardRule{rule("tcp", "0.0.0.0:53", "172.17.0.2:53", "c"), rule("udp", "0.0.0.0:53", "172.17.0.2:53", "c")},
		},
		"every address": {
			[]domain.PortBinding{{"80/tcp", "", "8080"}, {"80/tcp", "::", "8080"}, {"80/tcp", "0.0.0.0", "8080"}},
			[]domain.ForwardRule{rule("tcp", "0.0.0.0:8080", "172.17.0.2:80", "c"), rule("tcp", "[::]:8080", "172.17.0.2:80", "c")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := domain.ForwardRules("c", target, c.in)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.AddrPort{})))
		})
	}
}

func TestForwardRulesRefuse(t *testing.T) {
	for _, c := range []struct {
		b    domain.PortBinding
		kind error
		text string
	}{
		{domain.PortBinding{Port: "80/sctp", HostPort: "80"}, domain.ErrUnsupported, "sctp"},
		{domain.PortBinding{Port: "80/dccp", HostPort: "80"}, domain.ErrInvalid, "dccp"},
		{domain.PortBinding{Port: "80-90/tcp", HostPort: "80"}, domain.ErrInvalid, "range"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "8000-8010"}, domain.ErrInvalid, "range"},
		{domain.PortBinding{Port: "80/tcp"}, domain.ErrInvalid, "no host port yet"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "0"}, domain.ErrInvalid, "no host port yet"},
		{domain.PortBinding{Port: "0/tcp", HostPort: "80"}, domain.ErrInvalid, "65535"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "65536"}, domain.ErrInvalid, "65535"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "+80"}, domain.ErrInvalid, "65535"},
		{domain.PortBinding{Port: "", HostPort: "80"}, domain.ErrInvalid, "65535"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "80", HostIP: "localhost"}, domain.ErrInvalid, "localhost"},
		{domain.PortBinding{Port: "80/tcp", HostPort: "80", HostIP: "[]"}, domain.ErrInvalid, "IP address"},
	} {
		got, err := domain.ForwardRules("c", target, []domain.PortBinding{{"1/tcp", "", "1"}, c.b})
		require.Nil(t, got, "one bad binding fails the whole")
		require.ErrorIs(t, err, c.kind, "%+v", c.b)
		require.ErrorContains(t, err, c.text)
	}
	_, err := domain.ForwardRules("c", netip.Addr{}, nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = domain.ForwardRules("c", netip.IPv4Unspecified(), nil)
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func randomRules(rnd *rand.Rand, n int) []domain.ForwardRule {
	hosts := []string{"0.0.0.0:80", "[::]:80", "127.0.0.1:80", "127.0.0.1:81", "[::1]:80"}
	targets := []string{"172.17.0.2:80", "172.17.0.3:80"}
	out := make([]domain.ForwardRule, n)
	for i := range out {
		out[i] = rule([]domain.Protocol{"tcp", "udp"}[rnd.IntN(2)], hosts[rnd.IntN(len(hosts))], targets[rnd.IntN(2)], []string{"a", "b"}[rnd.IntN(2)])
	}
	return out
}

func TestDiffForwardsProperties(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	set := func(rules []domain.ForwardRule) map[domain.ForwardRule]bool {
		s := map[domain.ForwardRule]bool{}
		for _, r := range rules {
			s[r] = true
		}
		return s
	}
	for range 2000 {
		desired, actual := randomRules(rnd, rnd.IntN(12)), randomRules(rnd, rnd.IntN(12))
		open, closed := domain.DiffForwards(desired, actual)

		have := set(actual)
		for _, r := range closed {
			require.True(t, have[r], "closes only what is there, and once")
			delete(have, r)
		}
		for _, r := range open {
			require.False(t, have[r], "opens only what is not there, and once")
			have[r] = true
		}
		require.Equal(t, set(desired), have, "applying the diff gives the desired rules")

		var after []domain.ForwardRule
		for r := range have {
			after = append(after, r)
		}
		o, c := domain.DiffForwards(desired, after)
		require.Empty(t, o)
		require.Empty(t, c)

		d2, a2 := slices.Clone(desired), slices.Clone(actual)
		rnd.Shuffle(len(d2), func(i, j int) { d2[i], d2[j] = d2[j], d2[i] })
		rnd.Shuffle(len(a2), func(i, j int) { a2[i], a2[j] = a2[j], a2[i] })
		o2, c2 := domain.DiffForwards(d2, a2)
		require.Equal(t, open, o2)
		require.Equal(t, closed, c2)
	}
}

func TestForwardsThatOverlap(t *testing.T) {
	base := rule("tcp", "127.0.0.1:80", "172.17.0.2:80", "a")
	for _, c := range []struct {
		other domain.ForwardRule
		want  bool
	}{
		{base, true},
		{rule("tcp", "127.0.0.1:80", "172.17.0.3:80", "b"), true},
		{rule("tcp", "127.0.0.1:80", "172.17.0.3:80", "a"), true},
		{rule("tcp", "0.0.0.0:80", "172.17.0.3:80", "b"), true},
		{rule("tcp", "127.0.0.2:80", "172.17.0.3:80", "b"), false},
		{rule("tcp", "[::]:80", "172.17.0.3:80", "b"), false},
		{rule("udp", "127.0.0.1:80", "172.17.0.3:80", "b"), false},
		{rule("tcp", "0.0.0.0:81", "172.17.0.3:80", "b"), false},
	} {
		require.Equal(t, c.want, base.Overlaps(c.other), "%v", c.other)
		require.Equal(t, c.want, c.other.Overlaps(base), "symmetric: %v", c.other)
	}
	require.Equal(t, "127.0.0.1:80/tcp -> 172.17.0.2:80", base.String())
	v6 := rule("tcp", "[::1]:80", "172.17.0.2:80", "a")
	require.True(t, v6.Overlaps(rule("tcp", "[::]:80", "172.17.0.2:80", "a")))
}

func FuzzForwardRules(f *testing.F) {
	f.Add("80/tcp", "127.0.0.1", "8080")
	f.Add("53/udp", "", "53")
	f.Fuzz(func(t *testing.T, port, ip, hostPort string) {
		rules, err := domain.ForwardRules("c", target, []domain.PortBinding{{port, ip, hostPort}})
		if err != nil {
			require.Empty(t, rules)
			return
		}
		for _, r := range rules {
			require.NotZero(t, r.Host.Port())
			require.NotZero(t, r.Target.Port())
			require.True(t, r.Host.Addr().IsValid())
			require.False(t, r.Host.Addr().Is4In6())
		}
	})
}
