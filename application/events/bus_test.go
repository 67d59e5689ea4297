package events_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"arcbox/application/events"
	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.EventPublisher = (*events.Bus)(nil)

func numbered(n int) domain.Event { return domain.Event{Detail: strconv.Itoa(n)} }

func TestWatchersSeeWhatFollowsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := events.New()
		b.Publish(numbered(-1)) // before anybody watches
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		got := make([][]string, 2)
		for i := range got {
			all.Go(func() {
				err := b.Watch(ctx, func(e domain.Event, missed int) error {
					require.Zero(t, missed)
					require.False(t, e.Time.IsZero())
					got[i] = append(got[i], e.Detail)
					return nil
				})
				require.ErrorIs(t, err, context.Canceled)
			})
		}
		synctest.Wait()
		for n := range 100 {
			b.Publish(numbered(n))
		}
		synctest.Wait()
		cancel()
		all.Wait()
		for _, g := range got {
			require.Len(t, g, 100)
			require.Equal(t, "0", g[0])
			require.Equal(t, "99", g[99])
		}
	})
}

func TestSlowWatcherIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := events.New()
		enough := errors.New("enough")
		proceed := make(chan struct{})
		var seen, lost int
		done := make(chan error)
		go func() {
			done <- b.Watch(t.Context(), func(e domain.Event, missed int) error {
				<-proceed
				seen++
				lost += missed
				n, err := strconv.Atoi(e.Detail)
				require.NoError(t, err)
				require.Equal(t, seen+lost-1, n)
				if n == 999 {
					return enough
				}
				return nil
			})
		}()
		synctest.Wait()
		for n := range 1000 {
			b.Publish(numbered(n))
			synctest.Wait()
		}
		close(proceed)
		require.ErrorIs(t, <-done, enough)
		require.Equal(t, 1+events.Kept, seen)
		require.Equal(t, 1000-1-events.Kept, lost)
	})
}

func TestPublishInParallel(t *testing.T) {
	b := events.New()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	total := make(chan int, 1)
	go func() {
		n := 0
		_ = b.Watch(ctx, func(_ domain.Event, missed int) error {
			if n == 0 {
				close(ready)
			}
			n += 1 + missed
			if n >= 1001 {
				total <- n
			}
			return nil
		})
	}()
	started := false
	for !started {
		select {
		case <-ready:
			started = true
		default:
			b.Publish(numbered(0))
		}
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for n := range 100 {
				b.Publish(numbered(n))
			}
		})
	}
	all.Wait()
	require.GreaterOrEqual(t, <-total, 1001)
	cancel()
}
