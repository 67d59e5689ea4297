package containers

import (
	"context"
	"errors"
	"time"

	"arcbox/domain"
)

// refuse notes that there is no use in trying.
func (f *Forwards) refuse(e *forward, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.state, e.reason, e.since = domain.ForwardRefused, why, time.Now()
	f.notify()
}

// set makes wishes what an owner wants of a run, and returns the first failure
// if a client waits.
func (f *Forwards) set(ctx context.Context, run *forwardRun, by ownerKey, wishes []domain.ListenerForward, waited bool) error {
	refused := map[domain.ForwardRule]string{}
	desired := make([]domain.ForwardRule, 0, len(wishes))
	for _, w := range wishes {
		desired = append(desired, w.Rule)
		refused[w.Rule] = w.Refused
	}
	f.mu.Lock()
	mine := map[domain.ForwardRule]*forward{}
	actual := make([]domain.ForwardRule, 0, len(wishes))
	for e := range f.entries {
		if e.run == run && e.owner == by && !e.gone {
			mine[e.rule] = e
			actual = append(actual, e.rule)
		}
	}
	missing, surplus := domain.DiffForwards(desired, actual)
	closing := map[*forward]bool{}
	for _, r := range surplus {
		closing[mine[r]] = true
	}
	old := f.takeLocked(func(e *forward) bool { return closing[e] })
	var added []*forward
	var failure error
	for _, r := range missing {
		e, err := f.add(run, by, r)
		if err != nil {
			failure = errors.Join(failure, err)
			break
		}
		added = append(added, e)
	}
	f.mu.Unlock()
	f.closeAll(old)
	for _, e := range added {
		if why := refused[e.rule]; why != "" {
			f.refuse(e, why)
			continue
		}
		if err := f.settle(e, f.open(ctx, e), waited); err != nil && failure == nil {
			failure = err
		}
	}
	return failure
}
