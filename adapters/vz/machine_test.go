package vz

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMachineRunsUntilItIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vm := b.start(t)
		require.Equal(t, domain.HypervisorInfo{Driver: "vz", Version: "14.6.1", Accelerator: domain.AcceleratorHVF}, vm.Info())
		synctest.Wait()
		select {
		case <-vm.Done():
			t.Fatal("the machine is down")
		default:
		}
		require.NoError(t, vm.Err())
		require.NoError(t, vm.Kill(t.Context()))
		<-vm.Done()
		<-b.g.released
		require.NoError(t, vm.Err())
		require.NoError(t, vm.Kill(t.Context()), "a second kill is none")
		_, err := vm.Dial(t.Context(), 1024)
		require.ErrorIs(t, err, domain.ErrNotRunning)
		require.ErrorIs(t, vm.(port.Balloon).SetMemory(t.Context(), 256), domain.ErrNotRunning)
	})
}

func TestMachineEndsWithTheGuest(t *testing.T) {
	for name, test := range map[string]struct {
		states []state
		err    error
	}{
		"power-off":            {[]state{7, stateStopped}, nil},
		"error":                {[]state{stateError}, domain.ErrUnavailable},
		"paused, then stopped": {[]state{5, 2, 6, stateRunning, stateStopped}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				vm := b.start(t)
				for _, s := range test.states {
					b.g.states <- s
				}
				<-vm.Done()
				<-b.g.released
				require.ErrorIs(t, vm.Err(), test.err)
				require.Equal(t, test.err == nil, vm.Err() == nil)
			})
		})
	}
}

func TestMachineIgnoresAnOldState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.g.start = func() error { b.g.states <- stateStopped; b.g.states <- stateRunning; return nil }
		vm := b.start(t)
		synctest.Wait()
		select {
		case <-vm.Done():
			t.Fatal("the machine is down")
		default:
		}
		require.NoError(t, vm.Kill(t.Context()))
	})
}

func TestMachineThatDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cause := &frameworkError{vzDomain, vzLimitExceeded, "too many"}
		b.g.start = func() error { return cause }
		vm, err := b.h.Start(t.Context(), b.spec)
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, domain.ErrUnavailable)
		require.NotEmpty(t, domain.Hint(err))
		require.True(t, vm == nil, "no typed nil")
		<-b.g.released
	})
}

// A start that takes too long is given up, and the machine is taken down when it has come up.
func TestStartIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		start := b.g.start
		b.g.start = func() error { time.Sleep(8 * time.Second); return start() }
		ctx, cancel := within(5 * time.Second)
		defer cancel()
		begun := time.Now()
		_, err := b.h.Start(ctx, b.spec)
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.Equal(t, 8*time.Second, time.Since(begun), "its disks are free when Start returns")
		<-b.g.released
	})
}

func TestStartThatNeverEndsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		start, hold := b.g.start, make(chan struct{})
		b.g.start = func() error { <-hold; return start() }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		_, err := b.h.Start(ctx, b.spec)
		require.ErrorIs(t, err, domain.ErrCanceled)
		require.Equal(t, time.Second+stopTimeout, time.Since(begun))
		close(hold) // it comes up after all, and is taken down
		<-b.g.released
	})
}

func TestKillThatFailsIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop, calls := b.g.stop, 0
		cause := &frameworkError{vzDomain, 4, "no transition"}
		b.g.stop = func() error {
			if calls++; calls == 1 {
				return cause
			}
			return stop()
		}
		vm := b.start(t)
		ctx, cancel := within(time.Second)
		defer cancel()
		err := vm.Kill(ctx)
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.ErrorIs(t, err, cause)
		require.NoError(t, vm.Kill(t.Context()))
		require.Equal(t, 2, calls)
		require.NoError(t, vm.Err())
	})
}

// Two stops at a time are one too many for the framework.
func TestKillThatHangsIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold, calls := make(chan struct{}), 0
		b.g.stop = func() error { calls++; <-hold; return nil }
		vm := b.start(t)
		for range 3 {
			ctx, cancel := within(stopTimeout)
			require.ErrorIs(t, vm.Kill(ctx), domain.ErrTimeout)
			cancel()
		}
		synctest.Wait()
		require.Equal(t, 1, calls)
		close(hold)
		<-vm.Done()
	})
}

// The guest powers off while a stop is under way, which then never gets an answer.
func TestEndOvertakesKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.g.stop = func() error { b.g.states <- stateStopped; <-hold; return errors.New("late") }
		vm := b.start(t)
		begun := time.Now()
		require.NoError(t, vm.Kill(t.Context()))
		require.Equal(t, stopTimeout, time.Since(begun))
		close(hold)
	})
}

func TestBalloon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vm := b.start(t)
		balloon := vm.(port.Balloon)
		for asked, want := range map[domain.MiB]uint64{512: 512 << 20, 256: 256 << 20, 1: 64 << 20} {
			require.NoError(t, balloon.SetMemory(t.Context(), asked))
			require.Equal(t, want, <-b.g.memory)
		}
		for _, asked := range []domain.MiB{0, 513} {
			require.ErrorIs(t, balloon.SetMemory(t.Context(), asked), domain.ErrInvalid)
		}
		require.NoError(t, vm.Kill(t.Context()))
	})
}
