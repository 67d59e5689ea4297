package lifecycle

import (
	"context"

	"arcbox/domain"
)

// task is slow work beside the actor. Its result is read after done.
type task struct {
	cancel context.CancelFunc
	done   chan struct{}
	run    *run // started by it and not closed
}

// taskFunc does a task's work. It may tell news on the way, and returns the
// event that completes it and the run that it started and did not close.
type taskFunc func(ctx context.Context, tell tellFunc) (*run, domain.LifecycleEvent)

type tellFunc func(domain.LifecycleEvent, domain.HypervisorInfo)

// spawn starts the next task.
func (a *Actor) spawn(parent context.Context, f taskFunc) {
	a.incarnation++
	incarnation := a.incarnation
	ctx, cancel := context.WithCancel(parent)
	t := &task{cancel: cancel, done: make(chan struct{})}
	a.task = t
	a.tasks.Go(func() {
		defer cancel()
		r, event := f(ctx, func(e domain.LifecycleEvent, info domain.HypervisorInfo) {
			a.post(progress{incarnation, e, info})
		})
		t.run = r
		close(t.done)
		a.post(completion{incarnation, event, r})
	})
}

// post hands news to the actor. There is none to take them from a task that
// outlives its loop; the kill for which it was aborted closes what it started.
func (a *Actor) post(m message) {
	select {
	case a.inbox <- m:
	case <-a.deaf:
	}
}

type (
	// completion is the end of a task.
	completion struct {
		incarnation uint64
		event       domain.LifecycleEvent
		run         *run
	}
	// progress is what a task tells before its end.
	progress struct {
		incarnation uint64
		event       domain.LifecycleEvent // or nil
		hypervisor  domain.HypervisorInfo // or zero
	}
	// lostRun and guestNews come from the watchers of a run.
	lostRun   struct{ run *run }
	guestNews struct {
		run    *run
		status domain.GuestStatus
		paused string
	}
)

func (c completion) handle(ctx context.Context, a *Actor) {
	if c.incarnation != a.incarnation {
		// Aborted. The kill task that followed closes what a boot left behind.
		return
	}
	a.task = nil
	switch c.event.(type) {
	case domain.AgentReady:
		a.accept(ctx, c.run)
	case domain.Stopped:
		a.run = nil
	case domain.BootFailed:
		// A machine that could not be taken down is the next boot's to close.
		if c.run != nil || a.run != nil && a.run.down() {
			a.run = c.run
		}
	}
	if a.refusing.Load() && a.life.StartParked {
		a.life.StartParked = false
		a.failWaiters(domain.ErrShuttingDown)
	}
	a.apply(ctx, c.event)
}

// accept takes over a booted run.
func (a *Actor) accept(ctx context.Context, r *run) {
	a.run = r
	a.guest, _ = r.session.Status()
	a.touchNow()
	a.tellAccelerator(r.info)
	r.watch(ctx,
		func(ctx context.Context, s domain.GuestStatus, paused string) {
			a.postUnless(ctx, guestNews{r, s, paused})
		},
		func(ctx context.Context) { a.postUnless(ctx, lostRun{r}) })
}

// postUnless is post for watchers, who must not wait for the actor once the run
// is being closed.
func (a *Actor) postUnless(ctx context.Context, m message) {
	select {
	case a.inbox <- m:
	case <-ctx.Done():
	case <-a.deaf:
	}
}

func (p progress) handle(ctx context.Context, a *Actor) {
	if p.incarnation != a.incarnation {
		return
	}
	if p.hypervisor != (domain.HypervisorInfo{}) {
		a.hypervisor = p.hypervisor
		a.publish()
	}
	if p.event != nil {
		a.apply(ctx, p.event)
	}
}

func (l lostRun) handle(ctx context.Context, a *Actor) {
	if l.run == a.run {
		a.apply(ctx, domain.Crashed{})
	}
}

func (n guestNews) handle(ctx context.Context, a *Actor) {
	if n.run == a.run && a.life.State.Ready() {
		if a.guest.RunningContainers > 0 && n.status.RunningContainers == 0 {
			a.touchNow() // the last container was the last use
		}
		a.guest = n.status
		a.tellDisk(n.status.Disk)
		a.tellPause(n.paused)
		a.publish()
	}
}
