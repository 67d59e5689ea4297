package containers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

var errStop = errors.New("enough")

func TestAPortIsOpenWhenBindReturnsAndFreeWhenReleaseReturns(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		g.Reset(nil)
		for range 20 { // published again at once
			require.NoError(t, g.Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
			require.Equal(t, []string{"0.0.0.0:8080/tcp"}, h.listening())
			g.Release("1")
			require.Empty(t, h.listening())
		}
		g.Release("unknown")
		require.Empty(t, h.forwards.Forwards())
	})
}

func TestDockerRunFailsOnAPortThatIsTaken(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("0.0.0.0:8080", true)
		done := h.dockerRun("web")
		err := h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80"))
		require.ErrorIs(t, err, domain.ErrConflict)
		require.ErrorContains(t, err, "nginx (process 4711)", "the text is the adapter's")
		done()
		require.Empty(t, h.forwards.Forwards(), "a run that failed leaves nothing to retry")
		opens := h.rig.Opens()
		h.occupy("0.0.0.0:8080", false)
		time.Sleep(time.Minute)
		require.Equal(t, opens, h.rig.Opens())
		require.Zero(t, h.count(domain.EventForwardConflict))
	})
}

func TestDockerRunFailsOnAPortThatNeedsPrivileges(t *testing.T) {
	for _, kind := range []error{domain.ErrPermission, domain.ErrUnsupported} {
		onHost(t, func(t *testing.T, h *host) {
			refuse := domain.WithHint(fmt.Errorf("port 80 is for the administrator: %w", kind), "set network.privileged")
			h.rig.Forward = func(context.Context, domain.ForwardRule) error { return refuse }
			done := h.dockerRun("")
			err := h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:80", "172.17.0.2:80"))
			require.ErrorIs(t, err, kind)
			require.Equal(t, "set network.privileged", domain.Hint(err))
			done()

			require.NoError(t, h.guest().Bind(t.Context(), lease("2", "tcp 0.0.0.0:80", "172.17.0.2:80")), "nobody waits: the container is not lost")
			s := h.status("0.0.0.0:80")
			require.Equal(t, domain.ForwardRefused, s.State)
			require.Contains(t, s.Reason, "set network.privileged")
			opens := h.rig.Opens()
			time.Sleep(time.Minute)
			require.Equal(t, opens, h.rig.Opens(), "to try again does not help")
		})
	}
}

func TestARestartPolicyDoesNotLoseItsContainerToAConflict(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("0.0.0.0:8080", true)
		require.NoError(t, h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		s := h.status("0.0.0.0:8080")
		require.Equal(t, domain.ForwardConflict, s.State)
		require.Contains(t, s.Reason, "nginx")
		require.Equal(t, 1, h.count(domain.EventForwardConflict))

		h.occupy("0.0.0.0:8080", false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		require.Equal(t, domain.ForwardActive, h.status("0.0.0.0:8080").State)
		require.Empty(t, h.status("0.0.0.0:8080").Reason)
		require.True(t, h.status("0.0.0.0:8080").Since.After(s.Since))
		require.Equal(t, 1, h.count(domain.EventForwardRecovered))
		require.Equal(t, []string{"0.0.0.0:8080/tcp"}, h.listening())
	})
}

// orbstack#2509: a port that AirPlay has was tried without pause and end.
func TestB1_15_AConflictIsRetriedWithBackoffAndShown(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("0.0.0.0:5000", true)
		require.NoError(t, h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:5000", "172.17.0.2:80")))
		before := h.rig.Opens()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		tries := h.rig.Opens() - before
		require.Less(t, tries, 50)
		require.Greater(t, tries, 30, "at least every 15 s")
		require.Equal(t, domain.ForwardConflict, h.status("0.0.0.0:5000").State)
		require.Equal(t, 1, h.count(domain.EventForwardConflict), "a conflict is told once")
		h.guest().Release("1")
		before = h.rig.Opens()
		time.Sleep(time.Minute)
		require.Equal(t, before, h.rig.Opens(), "what nobody wants is not tried")
	})
}

func TestWhoWaits(t *testing.T) {
	facts := []domain.ContainerFacts{
		container("a", "/web", "", domain.PortBinding{Port: "80/tcp", HostPort: "8080"}),
		container("b", "/db", "", domain.PortBinding{Port: "5432/tcp", HostPort: "5432"}),
	}
	for name, c := range map[string]struct {
		ref    string
		waited bool
	}{
		"its name": {"web", true}, "its id": {id("a"), true}, "a prefix of its id": {"aaaaaaa", true},
		"the name of another": {"db", false}, "a prefix of another": {"bbb", false},
		"one that is not known": {"new", true}, "one that is not told": {"", true},
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, func(t *testing.T, h *host) {
				h.news(domain.ContainerChange{Full: true, Present: facts})
				h.occupy("0.0.0.0:8080", true)
				done := h.dockerRun(c.ref)
				err := h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80"))
				require.Equal(t, c.waited, err != nil, "%v", err)
				done()
				done()
				require.NoError(t, h.guest().Bind(t.Context(), lease("2", "tcp 0.0.0.0:8080", "172.17.0.2:80")), "the client has its answer")
			})
		})
	}
}

func TestTheTwinOfAPublishedPortIsBestEffort(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.rig.Forward = func(_ context.Context, r domain.ForwardRule) error {
			if r.Host.Addr().Is6() {
				return fmt.Errorf("this host has no IPv6: %w", domain.ErrUnsupported)
			}
			return nil
		}
		defer h.dockerRun("web")()
		g := h.guest()
		require.ErrorIs(t, g.Bind(t.Context(), lease("0", "tcp [::]:8080", "172.17.0.2:80")), domain.ErrUnsupported, "it was all that was asked for")
		require.NoError(t, g.Bind(t.Context(), lease("4", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		require.NoError(t, g.Bind(t.Context(), lease("6", "tcp [::]:8080", "172.17.0.2:80")))
		require.Equal(t, domain.ForwardRefused, h.status("[::]:8080").State)
		require.Error(t, g.Bind(t.Context(), lease("7", "tcp [::1]:8080", "172.17.0.2:80")), "this one was asked for by itself")
	})
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("[::]:8080", true)
		defer h.dockerRun("web")()
		g := h.guest()
		require.NoError(t, g.Bind(t.Context(), lease("4", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		require.NoError(t, g.Bind(t.Context(), lease("6", "tcp [::]:8080", "172.17.0.2:80")))
		require.Equal(t, domain.ForwardConflict, h.status("[::]:8080").State)
		require.ErrorIs(t, g.Bind(t.Context(), lease("8", "udp [::]:8080", "172.17.0.2:80")), domain.ErrConflict, "another protocol is no twin")
		require.ErrorIs(t, g.Bind(t.Context(), lease("9", "tcp [::]:8080", "172.17.0.2:81")), domain.ErrConflict, "another port of the container is no twin")
	})
}

func TestOurOwnConflictNamesTheContainer(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "/web", "172.17.0.2")}})
		require.NoError(t, h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		defer h.dockerRun("other")()
		err := h.guest().Bind(t.Context(), lease("2", "tcp 127.0.0.1:8080", "172.17.0.3:80"))
		require.ErrorIs(t, err, domain.ErrConflict)
		require.ErrorContains(t, err, "port 127.0.0.1:8080/tcp is already allocated by 0.0.0.0:8080 of container web")
		require.ErrorIs(t, h.guest().Bind(t.Context(), lease("3", "tcp 0.0.0.0:8080", "172.17.0.2:80")), domain.ErrConflict, "the same rule twice is two ports")
	})
}

func TestAPortThatOneOfOursFreesIsTakenAtOnce(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		require.NoError(t, g.Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		require.NoError(t, g.Bind(t.Context(), lease("2", "tcp 127.0.0.1:8080", "172.17.0.3:80")))
		time.Sleep(4 * time.Minute) // the pause is at its longest
		now := time.Now()
		g.Release("1")
		synctest.Wait()
		require.Equal(t, []string{"127.0.0.1:8080/tcp"}, h.listening())
		require.Equal(t, now, h.status("127.0.0.1:8080").Since)
	})
}

func TestAPortThatIsBeingFreedIsWaitedForNotRefused(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		defer h.dockerRun("")()
		for range 50 {
			require.NoError(t, g.Bind(t.Context(), lease("old", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
			var both sync.WaitGroup
			both.Go(func() { g.Release("old") })
			both.Go(func() {
				for g.Bind(t.Context(), lease("new", "tcp 0.0.0.0:8080", "172.17.0.2:80")) != nil {
					time.Sleep(time.Millisecond) // it was not being freed yet
				}
			})
			both.Wait()
			require.Equal(t, []string{"0.0.0.0:8080/tcp"}, h.listening())
			g.Release("new")
		}
	})
}

func TestResetMakesTheHostAgreeWithTheGuest(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		for _, l := range []port.ForwardLease{
			lease("stays", "tcp 0.0.0.0:1001", "172.17.0.2:1"), lease("goes", "tcp 0.0.0.0:1002", "172.17.0.2:2"),
			lease("moves", "tcp 0.0.0.0:1003", "172.17.0.2:3"),
		} {
			require.NoError(t, g.Bind(t.Context(), l))
		}
		stays := h.status("0.0.0.0:1001")
		opens := h.rig.Opens()
		time.Sleep(time.Second)
		h.occupy("0.0.0.0:1005", true)
		defer h.dockerRun("")() // somebody waits, but not for what is there already
		g.Reset([]port.ForwardLease{
			lease("stays", "tcp 0.0.0.0:1001", "172.17.0.2:1"), lease("moves", "tcp 0.0.0.0:1003", "172.17.0.9:3"),
			lease("comes", "tcp 0.0.0.0:1004", "172.17.0.2:4"), lease("busy", "tcp 0.0.0.0:1005", "172.17.0.2:5"),
			lease("comes", "tcp 0.0.0.0:1006", "172.17.0.2:6"), lease("", "tcp 0.0.0.0:1007", "172.17.0.2:7"),
		})
		synctest.Wait()
		require.Equal(t, []string{"0.0.0.0:1001/tcp", "0.0.0.0:1003/tcp", "0.0.0.0:1004/tcp"}, h.listening())
		require.Equal(t, stays, h.status("0.0.0.0:1001"), "what is held on both sides is not touched")
		require.Equal(t, "172.17.0.9:3", h.status("0.0.0.0:1003").Rule.Target.String())
		require.Equal(t, domain.ForwardConflict, h.status("0.0.0.0:1005").State)
		require.Equal(t, opens+3, h.rig.Opens())
		g.Reset(nil)
		require.Empty(t, h.listening())
		require.Empty(t, h.forwards.Forwards())
	})
}

func TestAGuestThatIsNotModest(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		for _, l := range []port.ForwardLease{
			lease("", "tcp 0.0.0.0:1", "172.17.0.2:1"), lease(string(make([]byte, 200)), "tcp 0.0.0.0:1", "172.17.0.2:1"),
			lease("1", "sctp 0.0.0.0:1", "172.17.0.2:1"), lease("1", "tcp 0.0.0.0:0", "172.17.0.2:1"),
			lease("1", "tcp 0.0.0.0:1", "127.0.0.1:22"), lease("1", "tcp 0.0.0.0:1", "0.0.0.0:22"), {ID: "1"},
		} {
			require.ErrorIs(t, g.Bind(t.Context(), l), domain.ErrInvalid)
		}
		require.Zero(t, h.rig.Opens())
		var leases []port.ForwardLease
		for i := range 5000 {
			leases = append(leases, lease(fmt.Sprint(i), fmt.Sprintf("tcp 0.0.0.0:%d", 1024+i), "172.17.0.2:1"))
		}
		g.Reset(leases)
		synctest.Wait()
		require.Len(t, h.rig.Listening(), 4096)
		g.Reset(nil)
	})
}

// lima#4888: what belonged to a connection stayed when it was made anew.
func TestB1_4_CrashesAndRestartsLeakNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		for i := range 10 {
			g := h.guest()
			require.NoError(t, g.Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
			h.occupy("0.0.0.0:8081", true)
			require.NoError(t, g.Bind(t.Context(), lease("2", "tcp 0.0.0.0:8081", "172.17.0.2:80")))
			h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "web", "172.17.0.2")}})
			switch i % 3 {
			case 0:
				h.rig.Guest().Exit(errors.New("killed"))
			case 1:
				h.rig.Guest().LoseAgent()
			default:
				require.NoError(t, h.vm.Stop(t.Context()))
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			require.Empty(t, h.listening())
			require.Empty(t, h.forwards.Forwards())
			_, found := h.names.Lookup("web")
			require.False(t, found, "names end with the run")
			require.ErrorIs(t, g.Bind(t.Context(), lease("3", "tcp 0.0.0.0:9000", "172.17.0.2:80")), domain.ErrNotRunning, "a late request of the dead guest")
			h.boot()
		}
		require.Equal(t, 11, h.engine.calls)
	})
}

// docker/for-mac#205: "port is already allocated" after the container is gone.
func TestB1_16_WhatTheGuestForgotIsFree(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		require.NoError(t, g.Bind(t.Context(), lease("old", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		g.Reset(nil) // the release was lost with the stream
		defer h.dockerRun("web")()
		require.NoError(t, g.Bind(t.Context(), lease("new", "tcp 0.0.0.0:8080", "172.17.0.3:80")))
		require.Equal(t, "172.17.0.3:80", h.status("0.0.0.0:8080").Rule.Target.String())
	})
}

func TestTheDaemonsStopFreesEverything(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		require.NoError(t, h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		h.stop()
		require.Empty(t, h.listening())
	})
}

func TestAReleaseDuringTheBindLeavesNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.rig.Forward = func(ctx context.Context, _ domain.ForwardRule) error { <-ctx.Done(); return ctx.Err() }
		bound := make(chan error)
		g := h.guest()
		go func() { bound <- g.Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")) }()
		synctest.Wait()
		require.Empty(t, h.forwards.Forwards(), "readers do not wait, and see nothing that is not settled")
		now := time.Now()
		go g.Release("1")
		require.Error(t, <-bound)
		require.Equal(t, now, time.Now())
		synctest.Wait()
		require.Empty(t, h.forwards.Forwards())
	})
}

func TestListenersOfTheHostNetwork(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{{ID: id("a"), Name: "/app", Running: true}}})
		g := h.guest()
		socket := func(at string, dual bool) domain.GuestListener {
			return domain.GuestListener{Container: id("a"), Protocol: domain.TCP, Addr: rule("tcp "+at, "1.1.1.1:1").Host, DualStack: dual}
		}
		g.Listeners([]domain.GuestListener{socket("[::]:3000", true), socket("127.0.0.1:9229", false)})
		synctest.Wait()
		require.Equal(t, []string{"127.0.0.1:3000/tcp", "[::1]:3000/tcp"}, h.listening())
		require.Equal(t, "10.0.2.2:3000", h.status("127.0.0.1:3000").Rule.Target.String())
		require.Equal(t, "app", h.status("127.0.0.1:3000").Container)
		refused := h.status("127.0.0.1:9229")
		require.Equal(t, domain.ForwardRefused, refused.State)
		require.Contains(t, refused.Reason, "loopback")
		before := h.rig.Opens()
		g.Listeners([]domain.GuestListener{socket("[::]:3000", true)})
		synctest.Wait()
		require.Equal(t, before, h.rig.Opens(), "what is the same stays")
		g.Reset(nil)
		require.Len(t, h.listening(), 2, "leases are not listeners")
		g.Listeners(nil)
		require.Empty(t, h.forwards.Forwards())
	})
}

func TestWatchersAreToldTheNewest(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		ctx, cancel := context.WithCancel(t.Context())
		var lists [][]domain.ForwardStatus
		done := make(chan error)
		go func() {
			done <- h.forwards.WatchForwards(ctx, func(l []domain.ForwardStatus) error { lists = append(lists, l); return nil })
		}()
		synctest.Wait()
		require.Len(t, lists, 1, "all, at once")
		require.Empty(t, lists[0])
		h.news(domain.ContainerChange{Full: true})
		synctest.Wait()
		require.Len(t, lists, 1, "what is the same is not told again")
		require.NoError(t, h.guest().Bind(t.Context(), lease("1", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		synctest.Wait()
		last := lists[len(lists)-1]
		require.Equal(t, domain.ForwardActive, last[0].State)
		require.Equal(t, uint64(1), last[0].Stats.Total)
		require.Empty(t, last[0].Container)
		h.news(domain.ContainerChange{Full: true, Present: []domain.ContainerFacts{container("a", "/web", "172.17.0.2")}})
		synctest.Wait()
		last = lists[len(lists)-1]
		require.Equal(t, "web", last[0].Container)
		require.Equal(t, id("a"), last[0].Rule.Owner)
		h.guest().Release("1")
		synctest.Wait()
		require.Empty(t, lists[len(lists)-1])
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.ErrorIs(t, h.forwards.WatchForwards(t.Context(), func([]domain.ForwardStatus) error { return errStop }), errStop)
	})
}

func TestManyStartsAtOnce(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		g := h.guest()
		defer h.dockerRun("")()
		var all sync.WaitGroup
		var mu sync.Mutex
		won := map[int]int{}
		for i := range 60 {
			all.Go(func() {
				at := 8000 + i%20 // three want each port
				err := g.Bind(t.Context(), lease(fmt.Sprint(i), fmt.Sprintf("tcp 0.0.0.0:%d", at), "172.17.0.2:80"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won[at]++
				} else if !errors.Is(err, domain.ErrConflict) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Len(t, h.rig.Listening(), 20)
		for at, n := range won {
			require.Equal(t, 1, n, at)
		}
		require.True(t, slices.IsSortedFunc(h.forwards.Forwards(), func(a, b domain.ForwardStatus) int {
			return a.Rule.Host.Compare(b.Rule.Host)
		}))
	})
}
