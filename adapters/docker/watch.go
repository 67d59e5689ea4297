package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Pauses before an engine is asked again whose stream of events ended: it may
// be restarting.
const (
	firstWatchPause   = 100 * time.Millisecond
	longestWatchPause = 5 * time.Second
)

// Watcher implements port.ContainerWatcher over the engines' own API. It dials
// engines itself, not through the public socket, so that nobody takes it for a
// user of the machine.
type Watcher struct {
	log *slog.Logger
}

var _ port.ContainerWatcher = (*Watcher)(nil)

// NewWatcher returns a watcher. It may watch many engines at once.
func NewWatcher(log *slog.Logger) *Watcher { return &Watcher{log: log} }

// tellError is what the receiver of the news returned.
type tellError struct{ error }

// Watch implements port.ContainerWatcher.
func (w *Watcher) Watch(ctx context.Context, e port.Engine, f func(domain.ContainerChange) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-e.Gone():
			cancel(fmt.Errorf("watch containers: %w", domain.ErrNotRunning))
		case <-ctx.Done():
		}
	})
	defer wg.Wait()
	defer cancel(nil)
	tell := func(c domain.ContainerChange) error {
		if err := f(c); err != nil {
			return tellError{err}
		}
		return nil
	}
	pause := firstWatchPause
	for {
		synced, err := w.watchOnce(ctx, e, tell)
		var told tellError
		if errors.As(err, &told) {
			return told.error
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if synced {
			pause = firstWatchPause
		}
		w.log.Debug("the engine's events ended", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(2*pause, longestWatchPause)
	}
}

// watchOnce follows one stream of events to its end. synced says that the
// containers were told at least once.
func (w *Watcher) watchOnce(ctx context.Context, e port.Engine, tell func(domain.ContainerChange) error) (synced bool, err error) {
	client := newEngineClient(e)
	defer client.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The engine answers before it subscribes, so what happens between the two
	// would be lost: it is asked for everything since a moment before, by its own
	// clock.
	since, err := client.clock(ctx)
	if err != nil {
		return false, err
	}
	stream, err := client.events(ctx, since)
	if err != nil {
		return false, err
	}
	queue := newEventQueue()
	var reader sync.WaitGroup
	reader.Go(func() {
		defer stream.Close()
		queue.fill(stream)
	})
	defer reader.Wait()
	defer cancel() // ends the stream
	t := &tracker{client: client, log: w.log, tell: tell, records: map[string]*record{}, results: make(chan result)}
	if err := t.sync(ctx); err != nil {
		return false, err
	}
	return true, t.run(ctx, queue)
}
