package containers

import (
	"time"

	"arcbox/domain"
)

// want makes wishes what an owner wants of a run. It closes what is too much
// and returns what is not open yet, which is the caller's to open, or with later
// the run's. The error is the first wish's that the table has no room for.
func (f *Forwards) want(run *forwardRun, by ownerKey, wishes []domain.ListenerForward, later bool) ([]*forward, error) {
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
			failure = err
			break
		}
		if why := refused[r]; why != "" { // there is no use in trying
			e.state, e.reason, e.since = domain.ForwardRefused, why, time.Now()
			continue
		}
		e.later = later
		added = append(added, e)
	}
	f.notify()
	f.mu.Unlock()
	f.closeAll(old)
	if later {
		run.nudge()
	}
	return added, failure
}
