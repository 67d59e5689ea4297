package lifecycle

import (
	"context"
	"fmt"
	"time"

	"arcbox/domain"
)

// remains is what a kill has to see the end of: the task that was aborted for
// it, what an earlier kill gave up on, and their runs.
type remains struct {
	aborted *task    // or nil
	earlier *remains // or nil
	// gone is closed when none of the tasks is under way; left is then what
	// could not be taken down.
	gone chan struct{}
	left []*run
}

// ended waits for the tasks of m, and reports whether they ended within limit.
func (m *remains) ended(limit <-chan time.Time) bool {
	var task, earlier <-chan struct{}
	if m.aborted != nil {
		task = m.aborted.done
	}
	if m.earlier != nil {
		earlier = m.earlier.gone
	}
	for _, done := range []<-chan struct{}{task, earlier} {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-limit:
			return false
		}
	}
	return true
}

// runs returns the runs of the tasks, once they have ended.
func (m *remains) runs() (all []*run) {
	if m.aborted != nil && m.aborted.run != nil {
		all = append(all, m.aborted.run)
	}
	if m.earlier != nil {
		all = append(all, m.earlier.left...)
	}
	return all
}

// killTask takes the run down at once. A task that was aborted for it still
// owns its run, or starts one yet; killTask waits for it first.
func (a *Actor) killTask() taskFunc {
	r, m := a.run, &remains{aborted: a.task, earlier: a.remains, gone: make(chan struct{})}
	a.remains = m
	return func(ctx context.Context, _ tellFunc) (*run, domain.LifecycleEvent) {
		// A kill that is aborted for another goes on: the other waits for it.
		limit := time.NewTimer(2 * a.options.budget(a.options.Timing.Kill, domain.HypervisorInfo{Accelerator: domain.AcceleratorTCG}))
		defer limit.Stop()
		if !m.ended(limit.C) {
			a.tasks.Go(func() { a.closeLate(ctx, m) })
			return nil, domain.StopFailed{Err: fmt.Errorf("waiting for the aborted start or stop to end: %w", domain.ErrTimeout)}
		}
		defer close(m.gone)
		return nil, a.takeAllDown(ctx, m, r)
	}
}

// closeLate closes the run of a boot that ends after everybody has given up on it.
func (a *Actor) closeLate(ctx context.Context, m *remains) {
	defer close(m.gone)
	m.ended(nil)
	a.takeAllDown(ctx, m, nil)
}

// takeAllDown takes down the runs of m, whose tasks have ended, and r, unless
// it is nil.
func (a *Actor) takeAllDown(ctx context.Context, m *remains, r *run) domain.LifecycleEvent {
	var result domain.LifecycleEvent = domain.Stopped{}
	if r != nil {
		result = a.takeDown(ctx, r, nil)
	}
	for _, late := range m.runs() {
		if e, failed := a.takeDown(ctx, late, nil).(domain.StopFailed); failed {
			m.left = append(m.left, late)
			result = e
		}
	}
	m.aborted, m.earlier = nil, nil // what is still of interest is in left
	return result
}
