package domain_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestWhatABindingAsksFor(t *testing.T) {
	const to = "172.17.0.2:80"
	for name, c := range map[string]struct {
		b    domain.PortBinding
		rule domain.ForwardRule
		want bool
	}{
		"every address, IPv4":      {domain.PortBinding{Port: "80/tcp", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), true},
		"every address, IPv6":      {domain.PortBinding{Port: "80/tcp", HostPort: "8080"}, rule("tcp", "[::]:8080", to, ""), true},
		"protocol left out":        {domain.PortBinding{Port: "80", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), true},
		"another protocol":         {domain.PortBinding{Port: "80/tcp", HostPort: "8080"}, rule("udp", "0.0.0.0:8080", to, ""), false},
		"another host port":        {domain.PortBinding{Port: "80/tcp", HostPort: "8081"}, rule("tcp", "0.0.0.0:8080", to, ""), false},
		"another container port":   {domain.PortBinding{Port: "81/tcp", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), false},
		"any host port":            {domain.PortBinding{Port: "80/tcp"}, rule("tcp", "0.0.0.0:49153", to, ""), true},
		"host port 0":              {domain.PortBinding{Port: "80/tcp", HostPort: "0"}, rule("tcp", "0.0.0.0:49153", to, ""), true},
		"first of a range":         {domain.PortBinding{Port: "80/tcp", HostPort: "8000-8010"}, rule("tcp", "0.0.0.0:8000", to, ""), true},
		"last of a range":          {domain.PortBinding{Port: "80/tcp", HostPort: "8000-8010"}, rule("tcp", "0.0.0.0:8010", to, ""), true},
		"beyond a range":           {domain.PortBinding{Port: "80/tcp", HostPort: "8000-8010"}, rule("tcp", "0.0.0.0:8011", to, ""), false},
		"range of container ports": {domain.PortBinding{Port: "79-81/tcp", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), true},
		"that host address":        {domain.PortBinding{Port: "80/tcp", HostIP: "[::1]", HostPort: "8080"}, rule("tcp", "[::1]:8080", to, ""), true},
		"another host address":     {domain.PortBinding{Port: "80/tcp", HostIP: "127.0.0.1", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), false},
		"no address":               {domain.PortBinding{Port: "80/tcp", HostIP: "localhost", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), false},
		"no port":                  {domain.PortBinding{Port: "http/tcp", HostPort: "8080"}, rule("tcp", "0.0.0.0:8080", to, ""), false},
		"half a range":             {domain.PortBinding{Port: "80/tcp", HostPort: "8000-"}, rule("tcp", "0.0.0.0:8000", to, ""), false},
	} {
		require.Equal(t, c.want, c.b.Asks(c.rule), name)
		require.Equal(t, c.want, domain.ContainerFacts{Requested: []domain.PortBinding{{Port: "1/tcp", HostPort: "1"}, c.b}}.Requests(c.rule), name)
	}
	require.False(t, domain.ContainerFacts{}.Requests(rule("tcp", "0.0.0.0:1", to, "")))
}

// Whatever rules a binding is translated to, it asks for.
func TestABindingAsksForItsOwnRules(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		b := domain.PortBinding{Port: fmt.Sprintf("%d/%s", 1+rnd.IntN(99), []string{"tcp", "udp"}[rnd.IntN(2)]),
			HostIP: []string{"", "0.0.0.0", "::", "127.0.0.1", "[::1]", "::ffff:1.2.3.4"}[rnd.IntN(6)], HostPort: fmt.Sprint(1 + rnd.IntN(65535))}
		rules, err := domain.ForwardRules("c", target, []domain.PortBinding{b})
		require.NoError(t, err)
		for _, r := range rules {
			require.True(t, b.Asks(r), "%v %v", b, r)
			require.NoError(t, r.Check())
		}
		if len(rules) == 2 {
			require.True(t, rules[1].TwinOf(rules[0]))
			require.False(t, rules[0].TwinOf(rules[1]))
			require.False(t, rules[1].Overlaps(rules[0]), "both can be open")
		}
	}
}

func TestTwins(t *testing.T) {
	six := rule("tcp", "[::]:80", "172.17.0.2:8080", "")
	require.True(t, six.TwinOf(rule("tcp", "0.0.0.0:80", "172.17.0.2:8080", "")))
	require.True(t, rule("tcp", "[::]:80", "[fd00::2]:8080", "").TwinOf(rule("tcp", "0.0.0.0:80", "172.17.0.2:8080", "")), "a container's own IPv6 address")
	for _, other := range []domain.ForwardRule{
		rule("udp", "0.0.0.0:80", "172.17.0.2:8080", ""), rule("tcp", "0.0.0.0:81", "172.17.0.2:8080", ""),
		rule("tcp", "0.0.0.0:80", "172.17.0.2:8081", ""), rule("tcp", "127.0.0.1:80", "172.17.0.2:8080", ""), six,
	} {
		require.False(t, six.TwinOf(other), "%v", other)
	}
}

func TestRulesThatNoListenerCanServe(t *testing.T) {
	for _, r := range []domain.ForwardRule{
		{}, rule("sctp", "0.0.0.0:1", "172.17.0.2:1", ""), rule("tcp", "0.0.0.0:0", "172.17.0.2:1", ""),
		rule("tcp", "0.0.0.0:1", "172.17.0.2:0", ""), rule("tcp", "224.0.0.1:1", "172.17.0.2:1", ""),
		rule("tcp", "0.0.0.0:1", "127.0.0.1:1", ""), rule("tcp", "0.0.0.0:1", "[::]:1", ""), rule("tcp", "0.0.0.0:1", "[fe80::1%eth0]:1", ""),
		rule("tcp", "[::ffff:127.0.0.1]:1", "172.17.0.2:1", ""),
	} {
		require.ErrorIs(t, r.Check(), domain.ErrInvalid, "%v", r)
	}
}

func TestForwardPauses(t *testing.T) {
	require.Equal(t, 500*time.Millisecond, domain.ForwardPause(1))
	require.Equal(t, time.Second, domain.ForwardPause(2))
	last := time.Duration(0)
	for tries := range 1000 {
		p := domain.ForwardPause(tries)
		require.GreaterOrEqual(t, p, last)
		require.LessOrEqual(t, p, 15*time.Second)
		last = p
	}
	require.Equal(t, 15*time.Second, last)
}

func TestForwardStates(t *testing.T) {
	for want, errs := range map[domain.ForwardState][]error{
		domain.ForwardActive:   {nil},
		domain.ForwardRefused:  {domain.ErrPermission, domain.ErrUnsupported, domain.ErrInvalid, domain.WithHint(fmt.Errorf("x: %w", domain.ErrPermission), "h")},
		domain.ForwardConflict: {domain.ErrConflict, domain.ErrTimeout, domain.ErrUnavailable, fmt.Errorf("too many open files")},
	} {
		for _, err := range errs {
			require.Equal(t, want, domain.ForwardStateFor(err), "%v", err)
		}
	}
}

func TestForwardHeldNamesTheContainer(t *testing.T) {
	wanted, holder := rule("tcp", "127.0.0.1:80", "172.17.0.3:80", ""), rule("tcp", "0.0.0.0:80", "172.17.0.2:80", "0123456789abcdef")
	require.ErrorContains(t, domain.ForwardHeld(wanted, holder, "web"), "allocated by 0.0.0.0:80 of container web")
	require.ErrorContains(t, domain.ForwardHeld(wanted, holder, ""), "of container 0123456789ab:")
	holder.Owner = ""
	err := domain.ForwardHeld(wanted, holder, "")
	require.ErrorContains(t, err, "of another container")
	require.ErrorIs(t, err, domain.ErrConflict)
	require.NotEmpty(t, domain.Hint(err))
}

func listener(letter, proto, at string, dual bool) domain.GuestListener {
	return domain.GuestListener{Container: cid(letter), Protocol: domain.Protocol(proto), Addr: netip.MustParseAddrPort(at), DualStack: dual}
}

func cid(letter string) string {
	id := ""
	for range 64 {
		id += letter
	}
	return id
}

var guest4, guest6 = netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd0a:bc::2")

func TestListenerForwards(t *testing.T) {
	for name, c := range map[string]struct {
		in      []domain.GuestListener
		want    []string
		refused int
	}{
		"all of IPv4":   {[]domain.GuestListener{listener("a", "tcp", "0.0.0.0:80", false)}, []string{"127.0.0.1:80/tcp -> 10.0.2.2:80", "[::1]:80/tcp -> 10.0.2.2:80"}, 0},
		"dual stack":    {[]domain.GuestListener{listener("a", "udp", "[::]:53", true)}, []string{"127.0.0.1:53/udp -> 10.0.2.2:53", "[::1]:53/udp -> [fd0a:bc::2]:53"}, 0},
		"all of IPv6":   {[]domain.GuestListener{listener("a", "tcp", "[::]:80", false)}, []string{"127.0.0.1:80/tcp -> [fd0a:bc::2]:80", "[::1]:80/tcp -> [fd0a:bc::2]:80"}, 0},
		"one address":   {[]domain.GuestListener{listener("a", "tcp", "172.17.0.1:80", false)}, []string{"127.0.0.1:80/tcp -> 172.17.0.1:80", "[::1]:80/tcp -> 172.17.0.1:80"}, 0},
		"loopback":      {[]domain.GuestListener{listener("a", "tcp", "127.0.0.1:80", false)}, []string{"127.0.0.1:80/tcp -> 127.0.0.1:80"}, 1},
		"IPv6 loopback": {[]domain.GuestListener{listener("a", "tcp", "[::1]:80", false)}, []string{"[::1]:80/tcp -> [::1]:80"}, 1},
		"a pair, each its family": {[]domain.GuestListener{listener("a", "tcp", "0.0.0.0:80", false), listener("a", "tcp", "[::]:80", false)},
			[]string{"127.0.0.1:80/tcp -> 10.0.2.2:80", "[::1]:80/tcp -> [fd0a:bc::2]:80"}, 0},
		"one that is reached hides one that is not": {[]domain.GuestListener{listener("b", "tcp", "127.0.0.1:80", false), listener("a", "tcp", "10.0.2.2:80", false)},
			[]string{"127.0.0.1:80/tcp -> 10.0.2.2:80", "[::1]:80/tcp -> 10.0.2.2:80"}, 0},
		"nonsense": {[]domain.GuestListener{{}, listener("a", "sctp", "0.0.0.0:80", false), listener("a", "tcp", "0.0.0.0:0", false), listener("a", "tcp", "224.0.0.1:80", false),
			listener("a", "tcp", "[fe80::1]:80", false), {Container: "../x", Protocol: domain.TCP, Addr: netip.MustParseAddrPort("0.0.0.0:80")}}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			refused := 0
			for _, f := range domain.ListenerForwards(c.in, guest4, guest6) {
				got = append(got, f.Rule.String())
				if f.Refused != "" {
					refused++
				}
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.refused, refused)
		})
	}
	without := domain.ListenerForwards([]domain.GuestListener{listener("a", "tcp", "[::]:80", true), listener("a", "tcp", "[::]:81", false)}, guest4, netip.Addr{})
	require.Len(t, without, 3)
	require.Equal(t, "[::1]:80/tcp -> 10.0.2.2:80", without[1].Rule.String(), "a guest without IPv6")
	require.NotEmpty(t, without[2].Refused)
}

func TestListenerForwardsProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var in []domain.GuestListener
		for range rnd.IntN(20) {
			at := []string{"0.0.0.0", "[::]", "127.0.0.1", "[::1]", "172.17.0.1", "10.0.2.2", "[fd0a:bc::2]"}[rnd.IntN(7)]
			in = append(in, listener([]string{"a", "b"}[rnd.IntN(2)], []string{"tcp", "udp"}[rnd.IntN(2)], fmt.Sprintf("%s:%d", at, 80+rnd.IntN(4)), rnd.IntN(2) == 0))
		}
		out := domain.ListenerForwards(in, guest4, guest6)
		for i, f := range out {
			require.True(t, f.Rule.Host.Addr().IsLoopback(), "nothing but the host's loopback")
			if f.Refused == "" {
				require.NoError(t, f.Rule.Check())
			}
			for _, o := range out[:i] {
				require.False(t, f.Rule.Overlaps(o.Rule), "%v and %v", f.Rule, o.Rule)
			}
		}
		rnd.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		require.Equal(t, out, domain.ListenerForwards(in, guest4, guest6), "the order does not matter")
		require.Equal(t, out, domain.ListenerForwards(append(in, in...), guest4, guest6), "nor do duplicates")
	}
	var many []domain.GuestListener
	for port := 1; port < 3000; port++ {
		many = append(many, listener("a", "tcp", fmt.Sprintf("0.0.0.0:%d", port), false))
	}
	require.Len(t, domain.ListenerForwards(many, guest4, guest6), 1024)
}
