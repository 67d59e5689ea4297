// Package events carries what happened to whoever watches.
package events

import (
	"context"
	"sync"
	"time"

	"arcbox/domain"
)

// Kept is how many events a watcher may fall behind before it misses some.
const Kept = 256

// Bus is a port.EventPublisher whose events can be watched. Publishing never
// waits for watchers: they read the newest Kept events at their own pace.
type Bus struct {
	mu      sync.Mutex
	kept    [Kept]domain.Event // event number n is at n % Kept
	next    uint64             // number of the next event
	changed chan struct{}      // closed when there is one
}

// New returns a bus on which nothing has happened yet.
func New() *Bus { return &Bus{changed: make(chan struct{})} }

// Publish tells every watcher. An event without a time gets the present one.
func (b *Bus) Publish(e domain.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[b.next%Kept] = e
	b.next++
	close(b.changed)
	b.changed = make(chan struct{})
}

// Watch calls f, one call at a time, with every event that is published from
// now on, until ctx ends, whose error it returns, or f fails, whose error it
// returns. missed is how many events before this one were lost because f was slow.
func (b *Bus) Watch(ctx context.Context, f func(e domain.Event, missed int) error) error {
	b.mu.Lock()
	at := b.next
	b.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, missed, changed := b.read(at)
		if changed != nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		at += uint64(missed) + 1
		if err := f(e, missed); err != nil {
			return err
		}
	}
}

// read returns event number at, or the oldest kept after it, or a channel that
// is closed when there is one.
func (b *Bus) read(at uint64) (e domain.Event, missed int, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at == b.next {
		return domain.Event{}, 0, b.changed
	}
	if b.next-at > Kept {
		missed = int(b.next - at - Kept)
	}
	return b.kept[(at+uint64(missed))%Kept], missed, nil
}
