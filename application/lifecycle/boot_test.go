package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/lifecycle"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/domain"
)

type reply struct {
	inst *lifecycle.Instance
	err  error
}

func ensure(ctx context.Context, a *lifecycle.Actor) <-chan reply {
	c := make(chan reply, 1)
	go func() {
		inst, err := a.EnsureReady(ctx)
		c <- reply{inst, err}
	}()
	return c
}

func inBackground(f func(context.Context) error, ctx context.Context) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f(ctx) }()
	return c
}

// world runs a scenario in a bubble of fake time.
func world(t *testing.T, f func(t *testing.T, r *lifecycletest.Rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, lifecycletest.New(t)) })
}

func TestAnEmulatedGuestMayBeSilentForLonger(t *testing.T) {
	for accelerator, want := range map[domain.Accelerator]time.Duration{
		domain.AcceleratorKVM: 6 * time.Second, domain.AcceleratorTCG: 24 * time.Second,
	} {
		world(t, func(t *testing.T, r *lifecycletest.Rig) {
			r.Info.Accelerator = accelerator
			_, err := r.Actor(t, lifecycletest.Options()).EnsureReady(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, r.Silence(), "%s", accelerator)
		})
	}
}

func TestWaitersShareOneBoot(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = lifecycletest.Wait(20 * time.Second)
		a := r.Actor(t, lifecycletest.Options())
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first, second, leaves := ensure(t.Context(), a), ensure(t.Context(), a), ensure(impatient, a)
		left := <-leaves
		require.ErrorIs(t, left.err, domain.ErrTimeout)
		require.ErrorIs(t, left.err, context.DeadlineExceeded)
		require.ErrorContains(t, left.err, "starting")
		one, two := <-first, <-second
		require.NoError(t, one.err)
		require.Same(t, one.inst, two.inst)
		require.Len(t, r.Guests(), 1)
		s := a.Status()
		require.Equal(t, domain.StateRunning, s.State)
		require.Equal(t, domain.AcceleratorKVM, s.Hypervisor.Accelerator)
		require.Equal(t, one.inst.Generation(), s.Generation)
		require.Equal(t, []domain.EventKind{domain.EventMachineCreated, domain.EventMachineStarted}, r.Events())
		plan := r.Guest().Plan
		require.Equal(t, "log/kernel.log", plan.ConsoleLog)
		require.Equal(t, "console=ttyS0 arcbox.guest_docker_vsock_port=2375", plan.Cmdline)
		require.Equal(t, 1500, plan.MTU)
	})
}

func TestBootFailsThenSucceedsWithinItsBudget(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		tries := 0
		r.Connect = func(context.Context, *lifecycletest.Guest) error {
			if tries++; tries < 3 {
				return errors.New("connection reset")
			}
			return nil
		}
		a := r.Actor(t, lifecycletest.Options())
		begin := time.Now()
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, tries)
		require.Equal(t, 1500*time.Millisecond, time.Since(begin))
	})
}

func TestBootFailure(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*lifecycletest.Rig)
		kind  error
		text  string
		tries int
		after time.Duration
	}{
		"agent never answers": {func(r *lifecycletest.Rig) { r.Connect = lifecycletest.Wait(time.Hour) },
			domain.ErrTimeout, "| Kernel panic[0m", 1, 90 * time.Second},
		"agent never answers under emulation": {func(r *lifecycletest.Rig) {
			r.Info.Accelerator, r.Connect = domain.AcceleratorTCG, lifecycletest.Wait(time.Hour)
		}, domain.ErrTimeout, "waiting for the guest's agent", 1, 6 * time.Minute},
		"agent of another protocol": {func(r *lifecycletest.Rig) {
			r.Connect = func(context.Context, *lifecycletest.Guest) error { return domain.ErrProtocol }
		}, domain.ErrProtocol, "do not fit", 1, 0},
		"machine dies": {func(r *lifecycletest.Rig) {
			r.Connect = func(ctx context.Context, g *lifecycletest.Guest) error {
				g.Exit(errors.New("exit status 1"))
				<-ctx.Done()
				return ctx.Err()
			}
		}, domain.ErrUnavailable, "exit status 1", 3, 1500 * time.Millisecond},
		"assets are missing": {func(r *lifecycletest.Rig) {
			r.Resolve = func(context.Context) error { return domain.ErrChecksum }
		}, domain.ErrChecksum, "boot assets", 0, 0},
		"hypervisor does not start": {func(r *lifecycletest.Rig) {
			r.Start = func(context.Context, *lifecycletest.Guest) error { return domain.ErrUnsupported }
		}, domain.ErrUnsupported, "starting the hypervisor", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, r *lifecycletest.Rig) {
				c.spoil(r)
				a := r.Actor(t, lifecycletest.Options())
				begin := time.Now()
				inst, err := a.EnsureReady(t.Context())
				require.Nil(t, inst)
				require.ErrorIs(t, err, c.kind)
				require.ErrorContains(t, err, c.text)
				require.Len(t, r.Guests(), c.tries)
				require.Equal(t, c.after, time.Since(begin))
				s := a.Status()
				require.Equal(t, domain.StateFailed, s.State)
				require.Equal(t, err.Error(), s.Reason)
				// The failure is not for ever.
				r.Connect, r.Start = lifecycletest.Wait(0), lifecycletest.Wait(0)
				r.Resolve = func(context.Context) error { return nil }
				_, err = a.EnsureReady(t.Context())
				require.NoError(t, err)
				require.Empty(t, a.Status().Reason)
			})
		})
	}
}

func TestDriftReplacesTheRecordAndKeepsTheDataDisk(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		boot := func(o lifecycle.Options) domain.VMPlan {
			a := r.Actor(t, o)
			_, err := a.EnsureReady(t.Context())
			require.NoError(t, err)
			require.NoError(t, a.Close(t.Context()))
			return r.Guest().Plan
		}
		o := lifecycletest.Options()
		first := boot(o)
		require.Equal(t, 1, r.Saves())
		boot(o)
		require.Equal(t, 1, r.Saves(), "nothing has drifted")
		r.Upgrade()
		o.CPUs = 7
		third := boot(o)
		require.Equal(t, 2, r.Saves())
		require.Equal(t, "boot/2/kernel", third.Kernel)
		require.Equal(t, 7, third.CPUs)
		require.Equal(t, first.Disks[1], third.Disks[1])
		r.DamageStore()
		boot(o)
		require.Equal(t, 3, r.Saves(), "an unreadable record is replaced")
	})
}

func TestCloseDuringABootFailsWaitersAndLeavesNothing(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Connect = lifecycletest.Wait(time.Hour)
		a := r.Actor(t, lifecycletest.Options())
		waiter := ensure(t.Context(), a)
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, a.Close(t.Context()))
		require.ErrorIs(t, (<-waiter).err, domain.ErrShuttingDown)
		require.Zero(t, time.Since(begin))
		_, err := a.EnsureReady(t.Context())
		require.ErrorIs(t, err, domain.ErrShuttingDown)
		require.NoError(t, a.Stop(t.Context()))
	})
}

func TestCloseWithoutRun(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		a, err := lifecycle.New(lifecycletest.Options(), r.Ports)
		require.NoError(t, err)
		require.NoError(t, a.Close(t.Context()))
		a.Run(t.Context())
		_, err = a.EnsureReady(t.Context())
		require.ErrorIs(t, err, domain.ErrShuttingDown)
	})
}
