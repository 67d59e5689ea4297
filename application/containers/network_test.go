package containers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func (h *host) lookup(name string) []string {
	addrs, ok := h.names.Lookup(name)
	require.Equal(h.t, ok, len(addrs) > 0)
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func replica(letter, at string) domain.ContainerFacts {
	f := container(letter, "/shop-web-"+letter, at)
	f.Labels = map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
	return f
}

// The seed kept a name that its container no longer had.
func TestNamesOfARenamedContainerGo(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "/old", "172.17.0.2")}})
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{container("a", "/new", "172.17.0.2")}})
		require.Empty(t, h.lookup("old"))
		require.Equal(t, []string{"172.17.0.2"}, h.lookup("new"))
		name, ok := h.names.Reverse(addr("172.17.0.2"))
		require.True(t, ok)
		require.Equal(t, "new", name)
	})
}

// The seed answered a shared name with the replica that was registered last,
// dead or alive.
func TestNamesOfADeadReplicaGoAndTheLiveOneStays(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{replica("a", "172.18.0.2"), replica("b", "172.18.0.3")}})
		require.ElementsMatch(t, []string{"172.18.0.2", "172.18.0.3"}, h.lookup("web.shop"))
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{replica("b", "")}})
		require.Equal(t, []string{"172.18.0.2"}, h.lookup("web.shop"))
		h.news(domain.ContainerChange{Gone: []string{id("a")}})
		require.Empty(t, h.lookup("web.shop"))
	})
}

// The seed did not see a container that was connected later.
func TestNamesFollowTheNetworks(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		f := container("a", "/web", "172.17.0.2")
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{f}})
		f.Networks = append(slices.Clone(f.Networks), domain.ContainerNetwork{Name: "shop", Addrs: []netip.Addr{addr("172.20.0.2")}, Aliases: []string{"front"}})
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{f}})
		require.Equal(t, []string{"172.20.0.2"}, h.lookup("front"))
		f.Networks = f.Networks[:1]
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{f}})
		require.Empty(t, h.lookup("front"))
		require.Equal(t, []string{"172.17.0.2"}, h.lookup("web"))
	})
}

func TestAFullListReplacesWhatWasMissed(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "/one", "172.17.0.2"), container("b", "/two", "172.17.0.3")}})
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("c", "/three", "172.17.0.2")}})
		require.Empty(t, h.lookup("one"))
		require.Empty(t, h.lookup("two"))
		require.Equal(t, []string{"172.17.0.2"}, h.lookup("three"))
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{{ID: "short", Name: "bad", Running: true}}})
		require.Empty(t, h.lookup("bad"))
	})
}

func TestAWatchThatFailsIsStartedAgainAndEndsWithTheRun(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.Equal(t, 1, h.engine.calls)
		h.engine.fail <- fmt.Errorf("too many events: %w", domain.ErrInvalid)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, h.engine.calls)
		h.rig.Guest().Push(domain.GuestStatus{})
		h.rig.Guest().Push(ready()) // the engine restarted within its run
		synctest.Wait()
		require.Equal(t, 2, h.engine.calls, "its watch lists again by itself")
	})
}

func TestWhatLiesBehindTheGuest(t *testing.T) {
	prefix := netip.MustParsePrefix
	onHost(t, func(t *testing.T, h *host) {
		require.Equal(t, domain.ContainerPools(), h.rig.Behind(), "from the start")
		h.news(domain.ContainerChange{Networks: []netip.Prefix{prefix("172.17.0.0/16"), prefix("192.168.96.0/20")}})
		require.Equal(t, append(domain.ContainerPools(), prefix("192.168.96.0/20")), h.rig.Behind())
		h.news(domain.ContainerChange{Present: []domain.ContainerFacts{container("a", "web", "172.17.0.2")}})
		require.Len(t, h.rig.Behind(), 3, "no networks told is no change")

		h.rig.SetBehind = func(p []netip.Prefix) error {
			if slices.Contains(p, prefix("0.0.0.0/0")) {
				return fmt.Errorf("too wide: %w", domain.ErrInvalid)
			}
			return nil
		}
		h.news(domain.ContainerChange{Networks: []netip.Prefix{prefix("10.1.0.0/16"), prefix("0.0.0.0/0"), prefix("10.2.0.0/16")}})
		require.Equal(t, append(domain.ContainerPools(), prefix("10.1.0.0/16"), prefix("10.2.0.0/16")), h.rig.Behind(), "one that is refused does not take the others away")
		h.news(domain.ContainerChange{Networks: []netip.Prefix{}})
		require.Equal(t, domain.ContainerPools(), h.rig.Behind())
	})
}
