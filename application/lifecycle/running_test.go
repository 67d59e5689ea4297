package lifecycle_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/domain"
)

func TestCrash(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*lifecycletest.Guest)
		state   domain.LifecycleState
		reason  string
		takes   time.Duration
	}{
		"process ends":    {func(g *lifecycletest.Guest) { g.Exit(errors.New("signal: killed")) }, domain.StateFailed, "signal: killed", 0},
		"agent is silent": {func(g *lifecycletest.Guest) { g.LoseAgent() }, domain.StateFailed, domain.ErrAgentLost.Error(), 3 * time.Second},
		"guest powers off": {func(g *lifecycletest.Guest) {
			g.LoseAgent()
			time.AfterFunc(time.Second, func() { g.Exit(nil) })
		}, domain.StateStopped, "", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, r *lifecycletest.Rig) {
				a := r.Actor(t, lifecycletest.Options())
				inst, err := a.EnsureReady(t.Context())
				require.NoError(t, err)
				begin := time.Now()
				c.happens(r.Guest())
				<-inst.Done()
				// Requests in flight park behind the clearing up and get the next run.
				next := ensure(t.Context(), a)
				for s := a.Snapshot(); s.Status.State != domain.StateStarting && s.Status.Generation == 0; s = a.Snapshot() {
					<-s.Changed
				}
				require.Equal(t, c.takes, time.Since(begin))
				got := <-next
				require.NoError(t, got.err)
				require.EqualValues(t, 1, got.inst.Generation())

				r.Guest().LoseAgent()
				c.happens(r.Guest())
				<-got.inst.Done()
				for s := a.Snapshot(); s.Status.Generation < 2; s = a.Snapshot() {
					<-s.Changed
				}
				s := a.Status()
				require.Equal(t, c.state, s.State)
				require.Contains(t, s.Reason, c.reason)
				if c.state == domain.StateFailed {
					require.Contains(t, s.Reason, "| Kernel panic")
				}
			})
		})
	}
}

func TestReadyMachineAnswersWithoutItsActor(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Shutdown = lifecycletest.Wait(0)
		a := r.Actor(t, lifecycletest.Options())
		inst, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		before := a.Snapshot()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				got, err := a.EnsureReady(t.Context())
				if err != nil || got != inst {
					t.Errorf("got %v, %v", got, err)
				}
			})
		}
		all.Wait()
		require.Same(t, before, a.Snapshot(), "a message to the actor publishes a snapshot")
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = a.EnsureReady(t.Context()) }))
	})
}

func TestIdle(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		state := func(after time.Duration) domain.LifecycleState {
			time.Sleep(after)
			synctest.Wait()
			return a.Status().State
		}
		release, other := a.Hold(), a.Hold()
		require.Equal(t, domain.StateRunning, state(time.Hour))
		release()
		release()
		require.Equal(t, domain.StateRunning, state(time.Hour), "a release counts once")
		other()
		require.Equal(t, domain.StateRunning, state(5*time.Minute-time.Second))
		require.Equal(t, domain.StateIdle, state(time.Second))
		require.Equal(t, []domain.MiB{512}, r.Memory())

		inst, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.StateRunning, state(0))
		require.Equal(t, []domain.MiB{512, 2048}, r.Memory())

		require.Equal(t, domain.StateIdle, state(5*time.Minute))
		release = a.Hold()
		require.Equal(t, domain.StateRunning, state(time.Hour), "a hold ends idling")
		release()
		require.Equal(t, domain.StateIdle, state(5*time.Minute))
		require.Equal(t, domain.StateIdle, state(10*time.Minute-time.Second))
		require.Equal(t, domain.StateStopped, state(time.Second))
		<-inst.Done()
		next, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, next.Generation())
		require.Contains(t, r.Events(), domain.EventMachineIdle)
	})
}

func TestARunningContainerKeepsTheMachine(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		state := func(after time.Duration) domain.LifecycleState {
			time.Sleep(after)
			synctest.Wait()
			return a.Status().State
		}
		r.Guest().Push(domain.GuestStatus{EngineReady: true, RunningContainers: 1})
		require.Equal(t, domain.StateRunning, state(time.Hour), "nobody is connected, but a container runs")
		r.Guest().Push(domain.GuestStatus{RunningContainers: 1})
		require.Equal(t, domain.StateRunning, state(time.Hour), "an engine that restarts keeps its containers")
		r.Guest().Push(domain.GuestStatus{EngineReady: true})
		require.Equal(t, domain.StateRunning, state(5*time.Minute-time.Second), "the end of the last container is a use")
		require.Equal(t, domain.StateIdle, state(time.Second))
		r.Guest().Push(domain.GuestStatus{EngineReady: true, RunningContainers: 1})
		require.Equal(t, domain.StateRunning, state(0), "a restart policy ends idling")
		require.Equal(t, domain.StateRunning, state(time.Hour))
	})
}

func TestGuestStatusIsPublished(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		s := a.Snapshot()
		r.Guest().Push(domain.GuestStatus{EngineReady: true})
		<-s.Changed
		require.True(t, a.Status().Guest.EngineReady)
		require.NoError(t, a.Stop(t.Context()))
		require.False(t, a.Status().Guest.EngineReady)
	})
}

func TestAcceleratorFallbackIsToldOnce(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Info = domain.HypervisorInfo{Accelerator: domain.AcceleratorTCG, Reason: "/dev/kvm is missing"}
		a := r.Actor(t, lifecycletest.Options())
		for range 2 {
			_, err := a.EnsureReady(t.Context())
			require.NoError(t, err)
			require.NoError(t, a.Stop(t.Context()))
		}
		told := 0
		for _, kind := range r.Events() {
			if kind == domain.EventAcceleratorFallback {
				told++
			}
		}
		require.Equal(t, 1, told)
	})
}
