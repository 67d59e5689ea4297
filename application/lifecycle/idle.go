package lifecycle

import (
	"context"
	"sync"
	"time"

	"arcbox/domain"
)

// usage is what the decision to idle is made of. Times are since the actor's
// epoch, on the monotonic clock: a host that sleeps must not make its guests idle.
type usage struct {
	now   time.Duration
	last  time.Duration // newest activity
	holds int64
	// seen is the activity that the decision to idle knew of, since its time.
	seen, since time.Duration
}

// idleDecision returns the event that is due, or nil and when to look again; 0
// is never.
func idleDecision(state domain.LifecycleState, u usage, t Timing) (domain.LifecycleEvent, time.Duration) {
	switch {
	case state == domain.StateRunning && t.Idle > 0:
		due := u.last + t.Idle
		if u.holds > 0 {
			due = u.now + t.Idle
		}
		if u.now >= due {
			return domain.IdleTimeout{}, 0
		}
		return nil, due
	case state == domain.StateIdle:
		if u.holds > 0 || u.last > u.seen {
			return domain.Activity{}, 0
		}
		if t.Stop == 0 {
			return nil, 0
		}
		if due := u.since + t.Stop; u.now < due {
			return nil, due
		}
		return domain.Stop{}, 0
	}
	return nil, 0
}

// Touch notes that somebody uses the machine. It never blocks and costs the
// actor nothing unless the machine idles, which it ends.
func (a *Actor) Touch() {
	a.last.Store(int64(time.Since(a.epoch)))
	if a.Snapshot().Status.State == domain.StateIdle {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// Hold keeps the machine from idling until release is called; it does not
// start it. Holds are counted, and each release counts once.
func (a *Actor) Hold() (release func()) {
	a.holds.Add(1)
	a.Touch()
	return sync.OnceFunc(func() {
		a.Touch()
		a.holds.Add(-1)
	})
}

// settleIdle applies what is due and sets the timer for the next look.
func (a *Actor) settleIdle(ctx context.Context, timer *time.Timer) {
	for {
		u := usage{now: time.Since(a.epoch), last: time.Duration(a.last.Load()), seen: a.idleSeen, since: a.idleSince}
		u.holds = a.holds.Load()
		if a.guest.RunningContainers > 0 {
			u.holds++
		}
		event, next := idleDecision(a.life.State, u, a.options.Timing)
		if event == nil {
			timer.Stop()
			if next > 0 {
				timer.Reset(next - u.now)
			}
			return
		}
		if event == (domain.IdleTimeout{}) {
			a.idleSeen, a.idleSince = u.last, u.now
		}
		a.apply(ctx, event)
	}
}
