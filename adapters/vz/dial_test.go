package vz

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		vm := b.start(t)
		_, err := vm.Dial(t.Context(), 2375)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		stream := &closeCounter{}
		b.g.connect = func(p uint32) (port.Stream, error) { require.Equal(t, uint32(1024), p); return stream, nil }
		s, err := vm.Dial(t.Context(), 1024)
		require.NoError(t, err)
		require.Same(t, stream, s)
		require.Zero(t, stream.closed)

		// Too late for the caller: the stream is closed, not leaked.
		b.g.connect = func(uint32) (port.Stream, error) { time.Sleep(2 * time.Second); return stream, nil }
		ctx, cancel := within(time.Second)
		defer cancel()
		s, err = vm.Dial(ctx, 1024)
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.True(t, s == nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, stream.closed)

		canceled, end := context.WithCancel(t.Context())
		end()
		b.g.connect = func(uint32) (port.Stream, error) { t.Error("dialled"); return nil, nil }
		_, err = vm.Dial(canceled, 1024)
		require.ErrorIs(t, err, domain.ErrCanceled)
		require.NoError(t, vm.Kill(t.Context()))
	})
}

// A dial that the guest does not answer ends with the machine, and the machine
// waits for what the framework still does for it.
func TestDialEndsWithTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.g.connect = func(uint32) (port.Stream, error) { <-hold; return nil, errors.New("late") }
		vm := b.start(t)
		var calls sync.WaitGroup
		calls.Go(func() {
			_, err := vm.Dial(context.Background(), 1024)
			require.ErrorIs(t, err, domain.ErrNotRunning)
		})
		synctest.Wait()
		b.g.states <- stateStopped
		calls.Wait()
		synctest.Wait()
		select {
		case <-b.g.released:
			t.Fatal("released while a dial is under way")
		default:
		}
		close(hold)
		<-vm.Done()
	})
}

func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		hold := make(chan struct{})
		b.g.connect = func(uint32) (port.Stream, error) { <-hold; return nil, errors.New("late") }
		vm := b.start(t)
		ctx, cancel := within(time.Second)
		defer cancel()
		var calls sync.WaitGroup
		for range maxDials {
			calls.Go(func() { _, _ = vm.Dial(ctx, 1) })
		}
		calls.Wait() // their callers are gone, the framework still has them
		_, err := vm.Dial(t.Context(), 1)
		require.ErrorIs(t, err, domain.ErrUnavailable)
		require.NotErrorIs(t, err, domain.ErrNotRunning)
		close(hold)
		synctest.Wait()
		_, err = vm.Dial(t.Context(), 1)
		require.ErrorContains(t, err, "late")
		require.NoError(t, vm.Kill(t.Context()))
	})
}
