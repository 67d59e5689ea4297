package lifecycle_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/lifecycle"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/domain"
)

func TestStopDuringABootFollowsIt(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = lifecycletest.Wait(20 * time.Second)
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		require.NoError(t, a.Stop(t.Context()))
		require.NoError(t, (<-waiter).err)
		require.Equal(t, domain.StateStopped, a.Status().State)
		require.EqualValues(t, 1, a.Status().Generation)
	})
}

func TestStopDuringABootThatFailsIsDone(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = lifecycletest.Wait(time.Hour)
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		require.NoError(t, a.Stop(t.Context()))
		require.ErrorIs(t, (<-waiter).err, domain.ErrTimeout)
		require.Equal(t, domain.StateFailed, a.Status().State)
	})
}

func TestForceStopDuringABootPreempts(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = lifecycletest.Wait(time.Hour)
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		parked := inBackground(a.Stop, t.Context())
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, a.ForceStop(t.Context()))
		require.Zero(t, time.Since(begin))
		require.NoError(t, <-parked)
		require.ErrorIs(t, (<-waiter).err, domain.ErrForceStopped)
		require.Equal(t, domain.StateStopped, a.Status().State)
		r.Connect = lifecycletest.Wait(0)
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
	})
}

// A boot that ignores its cancellation and succeeds after the force-stop must
// neither be handed out nor left running.
func TestStaleBootIsClosedNotUsed(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = func(context.Context, *lifecycletest.Guest) error { time.Sleep(8 * time.Second); return nil }
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		stop := inBackground(a.ForceStop, t.Context())
		require.ErrorIs(t, (<-waiter).err, domain.ErrForceStopped)
		r.Connect = lifecycletest.Wait(time.Second)
		next := ensure(t.Context(), a) // parked behind the kill
		require.NoError(t, <-stop)
		got := <-next
		require.NoError(t, got.err)
		require.Len(t, r.Guests(), 2)
		require.EqualValues(t, 1, got.inst.Generation())
		require.Equal(t, domain.StateRunning, a.Status().State)
	})
}

func TestBootThatOutlivesEverybodysPatienceIsClosedLate(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = func(context.Context, *lifecycletest.Guest) error { time.Sleep(time.Hour); return nil }
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		require.ErrorIs(t, a.ForceStop(t.Context()), domain.ErrTimeout)
		require.ErrorIs(t, (<-waiter).err, domain.ErrForceStopped)
		require.Equal(t, domain.StateFailed, a.Status().State)
		time.Sleep(time.Hour) // the rig checks that nothing is left open
	})
}

// The late boot has nobody left to tell, and what it started is closed once.
func TestBootThatOutlivesTheActorIsClosed(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = func(context.Context, *lifecycletest.Guest) error { time.Sleep(time.Hour); return nil }
		a := r.Actor(t, lifecycletest.Options())
		begin := time.Now()
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		require.ErrorIs(t, a.ForceStop(t.Context()), domain.ErrTimeout)
		require.ErrorIs(t, (<-waiter).err, domain.ErrForceStopped)
		bounded, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, a.Close(bounded), domain.ErrTimeout)
		require.NoError(t, a.Close(t.Context()), "it waits for what it started")
		require.Equal(t, time.Hour, time.Since(begin))
		require.NoError(t, a.Stop(t.Context()))
	})
}

func TestAKillThatDoesNotEndIsNotRepeatedBesideIt(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		var kills atomic.Int32
		r.Kill = func(_ context.Context, g *lifecycletest.Guest) error {
			kills.Add(1)
			time.Sleep(time.Hour)
			g.Exit(nil)
			return nil
		}
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		first := inBackground(a.ForceStop, t.Context())
		synctest.Wait()
		require.ErrorIs(t, a.ForceStop(t.Context()), domain.ErrTimeout)
		require.ErrorIs(t, <-first, domain.ErrTimeout)
		require.NoError(t, a.Close(t.Context()))
		require.EqualValues(t, 1, kills.Load())
	})
}

func TestNoBootBesideOneThatDoesNotEnd(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = func(context.Context, *lifecycletest.Guest) error { time.Sleep(time.Hour); return nil }
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		for range 2 {
			require.ErrorIs(t, a.ForceStop(t.Context()), domain.ErrTimeout, "the machine is not down")
		}
		require.ErrorIs(t, (<-waiter).err, domain.ErrForceStopped)
		_, err := a.EnsureReady(t.Context())
		require.ErrorContains(t, err, "waiting for an aborted start")
		require.Len(t, r.Guests(), 1, "two machines must not share the disks")
		require.ErrorIs(t, a.Stop(t.Context()), domain.ErrTimeout)
		time.Sleep(time.Hour)
		r.Connect = lifecycletest.Wait(0)
		_, err = a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Len(t, r.Guests(), 2)
	})
}

func TestStopsTryTheKillAgain(t *testing.T) {
	stops := map[string]func(*lifecycle.Actor, context.Context) error{"by force": (*lifecycle.Actor).ForceStop, "in order": (*lifecycle.Actor).Stop}
	for name, again := range stops {
		t.Run(name, func(t *testing.T) {
			for _, boots := range []bool{true, false} {
				world(t, func(t *testing.T, r *lifecycletest.Rig) {
					kill := r.Kill
					r.Kill = func(context.Context, *lifecycletest.Guest) error { return errors.New("process is stuck") }
					if !boots {
						r.Connect = func(context.Context, *lifecycletest.Guest) error { return errors.New("no answer") }
					}
					a := r.Actor(t, lifecycletest.Options())
					_, err := a.EnsureReady(t.Context())
					require.Equal(t, boots, err == nil)
					for range 2 {
						require.ErrorContains(t, a.ForceStop(t.Context()), "process is stuck", "it still runs")
						require.Equal(t, domain.StateFailed, a.Status().State)
					}
					generation := a.Status().Generation
					r.Kill = kill
					require.NoError(t, again(a, t.Context()))
					require.Equal(t, domain.StateStopped, a.Status().State)
					require.Equal(t, generation, a.Status().Generation, "the run had ended before")
				})
			}
		})
	}
}

func TestGracefulStop(t *testing.T) {
	for name, c := range map[string]struct {
		shutdown func(context.Context, *lifecycletest.Guest) error
		takes    time.Duration
	}{
		"the guest powers off": {func(_ context.Context, g *lifecycletest.Guest) error {
			time.AfterFunc(3*time.Second, func() { g.Exit(nil) })
			return nil
		}, 3 * time.Second},
		"the guest hangs":        {lifecycletest.Wait(0), 30 * time.Second},
		"the agent hangs":        {lifecycletest.Wait(time.Hour), 5 * time.Second},
		"the agent is not there": {func(context.Context, *lifecycletest.Guest) error { return domain.ErrAgentLost }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, r *lifecycletest.Rig) {
				r.Shutdown = c.shutdown
				a := r.Actor(t, lifecycletest.Options())
				inst, err := a.EnsureReady(t.Context())
				require.NoError(t, err)
				begin := time.Now()
				one, two := inBackground(a.Stop, t.Context()), inBackground(a.Stop, t.Context())
				require.NoError(t, <-one)
				require.NoError(t, <-two)
				require.Equal(t, c.takes, time.Since(begin))
				<-inst.Done()
				s := a.Status()
				require.Equal(t, domain.StateStopped, s.State)
				require.EqualValues(t, 1, s.Generation)
				require.Nil(t, a.Snapshot().Instance)
			})
		})
	}
}

func TestRequestDuringAStopBootsAfterIt(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Shutdown = lifecycletest.Wait(0)
		a := r.Actor(t, lifecycletest.Options())
		first, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		stop := inBackground(a.Stop, t.Context())
		synctest.Wait()
		next := ensure(t.Context(), a)
		require.NoError(t, <-stop)
		got := <-next
		require.NoError(t, got.err)
		require.NotSame(t, first, got.inst)
		require.EqualValues(t, 1, got.inst.Generation())
	})
}

func TestForceStopPreemptsAStop(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Shutdown = lifecycletest.Wait(0)
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		begin := time.Now()
		stop := inBackground(a.Stop, t.Context())
		synctest.Wait()
		parked := ensure(t.Context(), a)
		synctest.Wait()
		require.NoError(t, a.ForceStop(t.Context()))
		require.NoError(t, <-stop)
		require.ErrorIs(t, (<-parked).err, domain.ErrForceStopped)
		require.Zero(t, time.Since(begin))
		require.EqualValues(t, 1, a.Status().Generation)
	})
}

func TestMachineThatCannotBeKilledIsFailedAndTriedAgain(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		kill := r.Kill
		r.Kill = func(context.Context, *lifecycletest.Guest) error { return errors.New("process is stuck") }
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.ErrorContains(t, a.ForceStop(t.Context()), "process is stuck")
		require.Equal(t, domain.StateFailed, a.Status().State)
		_, err = a.EnsureReady(t.Context())
		require.ErrorContains(t, err, "process is stuck", "two machines must not share the disks")
		require.Len(t, r.Guests(), 1)
		r.Kill = kill
		_, err = a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Len(t, r.Guests(), 2)
	})
}

func TestFailedBootThatCannotBeKilledIsClosedByTheNext(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		kill := r.Kill
		r.Kill = func(context.Context, *lifecycletest.Guest) error { return errors.New("process is stuck") }
		r.Connect = func(context.Context, *lifecycletest.Guest) error { return errors.New("no answer") }
		a := r.Actor(t, lifecycletest.Options())
		for range 2 {
			_, err := a.EnsureReady(t.Context())
			require.ErrorContains(t, err, "process is stuck")
			require.Len(t, r.Guests(), 1, "two machines must not share the disks")
		}
		r.Kill, r.Connect = kill, lifecycletest.Wait(0)
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Len(t, r.Guests(), 2)
	})
}

func TestStopOfAMachineThatIsDown(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a := r.Actor(t, lifecycletest.Options())
		require.NoError(t, a.Stop(t.Context()))
		require.NoError(t, a.ForceStop(t.Context()))
		require.Equal(t, domain.StateNotExist, a.Status().State)
	})
}

func TestRefuseKeepsAStoppedMachineDown(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Shutdown = lifecycletest.Wait(0)
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		stop := inBackground(a.Stop, t.Context())
		synctest.Wait()
		parked := ensure(t.Context(), a)
		synctest.Wait()
		a.Refuse()
		require.NoError(t, <-stop)
		require.ErrorIs(t, (<-parked).err, domain.ErrShuttingDown)
		_, err = a.EnsureReady(t.Context())
		require.ErrorIs(t, err, domain.ErrShuttingDown)
		require.Equal(t, domain.StateStopped, a.Status().State)
	})
}
