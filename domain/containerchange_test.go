package domain_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func runningAt(letter, name, at string) domain.ContainerFacts {
	f := domain.ContainerFacts{ID: cid(letter), Name: name, Running: at != ""}
	if at != "" {
		f.Networks = []domain.ContainerNetwork{{Name: "bridge", Addrs: []netip.Addr{netip.MustParseAddr(at)}}}
	}
	return f
}

func TestContainersAreFoundAsEnginesDo(t *testing.T) {
	var c domain.Containers
	require.Empty(t, c.Find("web"))
	c.Apply(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{
		runningAt("a", "/web", "172.17.0.2"), runningAt("b", "/aaa", "172.17.0.3"), {ID: cid("a")[:63] + "b", Name: "/db"}, {ID: "a", Name: "bad"}}})
	names := func(ref string) (out []string) {
		for _, f := range c.Find(ref) {
			out = append(out, f.Name)
		}
		return out
	}
	require.Equal(t, []string{"/web"}, names("web"))
	require.Equal(t, []string{"/web"}, names("/web"))
	require.Equal(t, []string{"/web"}, names(cid("a")))
	require.Equal(t, []string{"/aaa"}, names("aaa"), "a name goes before a prefix")
	require.ElementsMatch(t, []string{"/web", "/db"}, names("aaaa"))
	require.Empty(t, names("bad"))
	require.Empty(t, names(""))
}

func TestBindsAreThoseOfContainersThatRun(t *testing.T) {
	var c domain.Containers
	require.Empty(t, c.Binds())
	a, b, stopped := runningAt("a", "/a", "172.17.0.2"), runningAt("b", "/b", "172.17.0.3"), runningAt("c", "/c", "")
	a.Binds, b.Binds, stopped.Binds, stopped.Running = []string{"/y", "/x"}, []string{"/z", "/x"}, []string{"/s"}, false
	c.Apply(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{a, b, stopped}})
	require.Equal(t, []string{"/x", "/y", "/z"}, c.Binds())
	c.Apply(domain.ContainerChange{Gone: []string{a.ID}})
	require.Equal(t, []string{"/x", "/z"}, c.Binds())
}

func TestForwardsGetTheNamesOfContainers(t *testing.T) {
	var c domain.Containers
	c.Apply(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{runningAt("a", "/web", "172.17.0.2"), runningAt("b", "/host", "")}})
	leads := domain.ForwardStatus{Rule: rule("tcp", "0.0.0.0:80", "172.17.0.2:80", "")}
	got := c.Named(leads)
	require.Equal(t, "web", got.Container)
	require.Equal(t, cid("a"), got.Rule.Owner)
	require.Equal(t, "host", c.Named(domain.ForwardStatus{Rule: rule("tcp", "127.0.0.1:80", "10.0.2.2:80", cid("b"))}).Container, "an owner that is told goes before the address")
	stranger := domain.ForwardStatus{Rule: rule("tcp", "0.0.0.0:80", "172.17.0.2:80", cid("c"))}
	require.Equal(t, stranger, c.Named(stranger))
	c.Apply(domain.ContainerChange{Present: []domain.ContainerFacts{runningAt("a", "/new\x1b[2J", "172.17.0.2")}})
	require.Equal(t, "new[2J", c.Named(leads).Container, "a guest's text")
	c.Apply(domain.ContainerChange{Present: []domain.ContainerFacts{{ID: cid("a"), Name: "/web"}}})
	require.Equal(t, leads, c.Named(leads), "one that does not run has no address")
	c.Apply(domain.ContainerChange{Gone: []string{cid("b")}})
	_, known := c.Get(cid("b"))
	require.False(t, known)
	c.Apply(domain.ContainerChange{Full: true})
	_, known = c.Get(cid("a"))
	require.False(t, known)
}

// The index of addresses agrees with the containers after any news.
func TestContainersProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		var c domain.Containers
		model := map[string]domain.ContainerFacts{}
		for range 30 {
			letter := []string{"a", "b", "c", "d"}[rnd.IntN(4)]
			n := domain.ContainerChange{Full: rnd.IntN(10) == 0}
			if n.Full {
				clear(model)
			}
			if rnd.IntN(4) == 0 {
				n.Gone = []string{cid(letter)}
				delete(model, cid(letter))
			} else {
				at := ""
				if rnd.IntN(2) == 0 {
					at = fmt.Sprintf("172.17.0.%d", 2+rnd.IntN(3))
				}
				f := runningAt(letter, letter, at)
				n.Present = []domain.ContainerFacts{f}
				model[f.ID] = f
			}
			c.Apply(n)
			for id, f := range model {
				got, ok := c.Get(id)
				require.True(t, ok)
				require.Equal(t, f, got)
			}
			for i := range 3 {
				at := netip.MustParseAddr(fmt.Sprintf("172.17.0.%d", 2+i))
				want := ""
				for id, f := range model {
					if len(f.Addrs()) == 1 && f.Addrs()[0] == at && (want == "" || id < want) {
						want = id
					}
				}
				got, ok := c.At(at)
				require.Equal(t, want != "", ok)
				require.Equal(t, want, got.ID)
			}
		}
	}
}
