package containers_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/containers"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

const machine = domain.DefaultMachine

// The seed's facade had the bugs that these names tell.

func TestFacadeAnEmptyListCleansUp(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{rule("tcp 0.0.0.0:80", "172.17.0.2:80")}))
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), nil))
		require.Empty(t, h.listening())
	})
}

func TestFacadeIPv6IsNotSkippedAndSCTPIsNotTCP(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{
			rule("tcp [::]:80", "172.17.0.2:80"), rule("tcp [::1]:81", "172.17.0.2:80"), rule("tcp 127.0.0.1:81", "172.17.0.2:80")}))
		require.Equal(t, []string{"127.0.0.1:81/tcp", "[::]:80/tcp", "[::1]:81/tcp"}, h.listening())
		err := h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{rule("sctp 0.0.0.0:80", "172.17.0.2:80")})
		require.ErrorIs(t, err, domain.ErrInvalid)
		require.Len(t, h.listening(), 3, "bad input changes nothing")
	})
}

func TestFacadeTCPAndUDPOfOnePortDoNotCollide(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{
			rule("tcp 0.0.0.0:53", "172.17.0.2:53"), rule("udp 0.0.0.0:53", "172.17.0.2:53")}))
		require.Equal(t, []string{"0.0.0.0:53/tcp", "0.0.0.0:53/udp"}, h.listening())
	})
}

func TestFacadeAFailedBindIsAnErrorAndLeavesNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("0.0.0.0:81", true)
		err := h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{
			rule("tcp 0.0.0.0:80", "172.17.0.2:80"), rule("tcp 0.0.0.0:81", "172.17.0.2:81")})
		require.ErrorIs(t, err, domain.ErrConflict)
		require.Empty(t, h.forwards.Forwards())
		require.Empty(t, h.listening())
	})
}

func TestFacadeASecondContainerOnAPortDoesNotLookSuccessful(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		one := []domain.ForwardRule{rule("tcp 0.0.0.0:80", "172.17.0.2:80")}
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), one))
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), one), "the same again is nothing")
		require.Equal(t, 1, h.rig.Opens())
		err := h.forwards.Start(t.Context(), machine, id("b"), []domain.ForwardRule{rule("tcp 0.0.0.0:80", "172.17.0.3:80")})
		require.ErrorIs(t, err, domain.ErrConflict)
		require.ErrorContains(t, err, "container aaaaaaaaaaaa")
	})
}

func TestFacadeReplacingRulesClosesTheOldOnes(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{
			rule("tcp 0.0.0.0:80", "172.17.0.2:80"), rule("tcp 0.0.0.0:81", "172.17.0.2:81"), rule("tcp 0.0.0.0:82", "172.17.0.2:82")}))
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{
			rule("tcp 0.0.0.0:81", "172.17.0.9:81"), rule("tcp 0.0.0.0:82", "172.17.0.2:82"), rule("tcp 127.0.0.1:80", "172.17.0.2:80")}))
		require.Equal(t, []string{"0.0.0.0:81/tcp", "0.0.0.0:82/tcp", "127.0.0.1:80/tcp"}, h.listening())
		require.Equal(t, "172.17.0.9:81", h.status("0.0.0.0:81").Rule.Target.String(), "a target that changed is opened anew")
		require.Equal(t, 5, h.rig.Opens(), "what stayed was not opened again")
		h.forwards.Stop(id("a"))
		require.Empty(t, h.listening())
		h.forwards.Stop(id("a"))
	})
}

func TestFacadeAfterARestartTheTableIsWhatListens(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		rules := []domain.ForwardRule{rule("tcp 0.0.0.0:80", "172.17.0.2:80")}
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("a"), rules))
		require.NoError(t, h.vm.Stop(t.Context()))
		synctest.Wait()
		require.Empty(t, h.forwards.Forwards(), "no entry that does not listen")
		require.ErrorIs(t, h.forwards.Start(t.Context(), machine, id("b"), nil), domain.ErrNotRunning)
		h.boot()
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("b"), rules))
		require.Len(t, h.listening(), len(h.forwards.Forwards()))
		h.forwards.StopAll(machine)
		require.Empty(t, h.listening())
		require.NoError(t, h.forwards.Start(t.Context(), machine, id("b"), rules), "a start after a stop of all works")
	})
}

func TestFacadeStartsAndStopsOfAllAtOnce(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				switch i % 4 {
				case 0:
					h.forwards.StopAll(machine)
				case 1:
					h.forwards.Stop(id("a"))
				default:
					_ = h.forwards.Start(t.Context(), machine, id("a"), []domain.ForwardRule{rule(fmt.Sprintf("tcp 0.0.0.0:%d", 80+i%3), "172.17.0.2:80")})
				}
			})
		}
		all.Wait()
		require.Len(t, h.listening(), len(h.forwards.Forwards()))
		h.forwards.StopAll(machine)
		require.Empty(t, h.listening())
	})
}

func TestFacadeAContainerThatMovedLeavesTheOtherMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		a, b := lifecycletest.New(t), lifecycletest.New(t)
		first := a.Actor(t, lifecycletest.Options())
		o := lifecycletest.Options()
		o.Machine = "rosetta"
		second := b.Actor(t, o)
		engines := containers.New(containers.Options{}, map[domain.Role]containers.Machine{
			domain.RoleNative: {VM: first}, domain.RoleRosetta: {VM: second}}, a.Ports.Events, log)
		forwards := containers.NewForwards(containers.ForwardOptions{}, a.Ports.Events, log)
		network := containers.NewNetwork(containers.NetworkParts{Engines: engines, Forwards: forwards, Names: containers.NewNames(),
			Watcher: mock.NewMockContainerWatcher(gomock.NewController(t)), Log: log})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); network.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		_, err := first.EnsureReady(t.Context())
		require.NoError(t, err)
		_, err = second.EnsureReady(t.Context())
		require.NoError(t, err)
		synctest.Wait()

		rules := []domain.ForwardRule{rule("tcp 0.0.0.0:80", "172.17.0.2:80")}
		require.NoError(t, forwards.Start(t.Context(), machine, id("a"), rules))
		require.ErrorIs(t, forwards.Start(t.Context(), "rosetta", id("b"), rules), domain.ErrConflict, "machines share the host's ports")
		require.NoError(t, forwards.Start(t.Context(), "rosetta", id("a"), rules))
		require.Empty(t, a.Listening())
		require.Len(t, b.Listening(), 1)
	})
}

// TestListenersAreLeases is the invariant of the whole: whatever happens, what
// listens is what guests hold and the host has to give.
func TestListenersAreLeases(t *testing.T) {
	for seed := range uint64(20) {
		onHost(t, func(t *testing.T, h *host) {
			rnd := rand.New(rand.NewPCG(seed, 4))
			held := map[string]port.ForwardLease{} // what the guest holds
			random := func() port.ForwardLease {
				hosts := []string{"0.0.0.0", "127.0.0.1", "[::]", "[::1]"}
				return lease(fmt.Sprint(rnd.IntN(12)), fmt.Sprintf("tcp %s:%d", hosts[rnd.IntN(4)], 8000+rnd.IntN(3)),
					fmt.Sprintf("172.17.0.%d:80", 2+rnd.IntN(3)))
			}
			busy := netip.MustParseAddrPort("0.0.0.0:8001")
			for range 150 {
				g := h.guest()
				switch n := rnd.IntN(20); {
				case n < 9:
					l := random()
					if rnd.IntN(2) == 0 {
						done := h.dockerRun("")
						if g.Bind(t.Context(), l) == nil {
							held[l.ID] = l
						} else {
							delete(held, l.ID)
						}
						done()
					} else if err := g.Bind(t.Context(), l); err == nil {
						held[l.ID] = l
					} else {
						t.Fatal(err)
					}
				case n < 15:
					l := random()
					g.Release(l.ID)
					delete(held, l.ID)
				case n < 17:
					clear(held)
					for range rnd.IntN(6) {
						l := random()
						held[l.ID] = l
					}
					var all []port.ForwardLease
					for _, l := range held {
						all = append(all, l)
					}
					g.Reset(all)
				case n < 18:
					h.rig.Occupy(busy, rnd.IntN(2) == 0)
				case n < 19:
					h.rig.Guest().LoseAgent()
					synctest.Wait()
					clear(held)
					h.boot()
				default:
					h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "web", "172.17.0.2")}})
				}
				h.rig.Listening() // never two that overlap: the host refuses them
			}
			h.rig.Occupy(busy, false)
			synctest.Wait()
			sleepOverAPause()
			synctest.Wait()
			statuses := h.forwards.Forwards()
			require.Len(t, statuses, len(held), "every lease is shown, and nothing else")
			listening := h.rig.Listening()
			var active []domain.ForwardRule
			for _, s := range statuses {
				s.Rule.Owner = "" // a name that was learnt
				if s.State == domain.ForwardActive {
					active = append(active, s.Rule)
				} else {
					require.True(t, slices.ContainsFunc(listening, s.Rule.Overlaps), "%v is kept away by nobody", s)
				}
			}
			require.ElementsMatch(t, listening, active)
			for _, r := range listening {
				require.True(t, slices.ContainsFunc(slices.Collect(leases(held)), func(l port.ForwardLease) bool { return l.Rule == r }), "%v is held by nobody", r)
			}
		})
	}
}
