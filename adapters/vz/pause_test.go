package vz

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vm := b.start(t)
		synctest.Wait()
		why, changed := vm.(port.Pausing).Paused()
		require.Empty(t, why)

		require.NoError(t, vm.(Pauser).Pause(t.Context()))
		<-changed
		synctest.Wait()
		why, changed = vm.(port.Pausing).Paused()
		require.Equal(t, "the virtual machine is paused", why)

		require.NoError(t, vm.(Pauser).Resume(t.Context()))
		<-changed
		synctest.Wait()
		why, changed = vm.(port.Pausing).Paused()
		require.Empty(t, why)

		// Who waits for a paused machine hears of its end.
		require.NoError(t, vm.(Pauser).Pause(t.Context()))
		<-changed
		synctest.Wait()
		_, changed = vm.(port.Pausing).Paused()
		require.NoError(t, vm.Kill(t.Context()))
		<-changed
		why, _ = vm.(port.Pausing).Paused()
		require.Empty(t, why)
		require.ErrorIs(t, vm.(Pauser).Resume(t.Context()), domain.ErrNotRunning)
		require.NoError(t, vm.Err())
	})
}

func TestPauseThatTheFrameworkRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.g.pause = func() error { return &frameworkError{vzDomain, vzInvalidTransition, "no"} }
		vm := b.start(t)
		require.ErrorIs(t, vm.(Pauser).Pause(t.Context()), domain.ErrInvalidState)
		require.NoError(t, vm.Kill(t.Context()))
	})
}

// A stop waits for the pause under way instead of being refused because of it, and so
// does another transition.
func TestTransitionsWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var busy atomic.Bool
		stop := b.g.stop
		b.g.pause = func() error {
			busy.Store(true)
			time.Sleep(4 * time.Second)
			busy.Store(false)
			return nil
		}
		b.g.resume = func() error { require.False(t, busy.Load()); return nil }
		b.g.stop = func() error { require.False(t, busy.Load()); return stop() }
		vm := b.start(t)
		ctx, cancel := within(time.Second)
		defer cancel()
		require.ErrorIs(t, vm.(Pauser).Pause(ctx), domain.ErrTimeout)
		require.True(t, busy.Load(), "it goes on")
		short, end := within(time.Second)
		defer end()
		require.ErrorIs(t, vm.(Pauser).Resume(short), domain.ErrTimeout)
		require.NoError(t, vm.(Pauser).Resume(t.Context()))

		go func() { _ = vm.(Pauser).Pause(t.Context()) }()
		synctest.Wait()
		require.True(t, busy.Load())
		begun := time.Now()
		require.NoError(t, vm.Kill(t.Context()))
		require.Equal(t, 4*time.Second, time.Since(begun))
	})
}

// A pause that never ends must not hide that the machine is down.
func TestEndOvertakesPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.g.pause = func() error { <-hold; return nil }
		vm := b.start(t)
		go func() { time.Sleep(time.Second); b.g.states <- stateError }()
		begun := time.Now()
		require.ErrorIs(t, vm.(Pauser).Pause(t.Context()), domain.ErrNotRunning)
		require.Equal(t, time.Second, time.Since(begun))
		<-vm.Done()
		require.Equal(t, time.Second+stopTimeout, time.Since(begun), "the call is waited for, not forever")
		require.ErrorIs(t, vm.Err(), domain.ErrUnavailable)
		close(hold)
	})
}

func TestStandstill(t *testing.T) {
	for s := range state(10) {
		still := s == statePaused || s == statePausing || s == stateResuming || s == stateSaving || s == stateRestoring
		require.Equal(t, still, standstill(s) != "", "state %d", s)
	}
}
