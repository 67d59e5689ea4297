package docker

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"arcbox/domain"
)

// Bounds on questions under way. The second is for those that may wait for
// their container's lock, and must not keep the others from being asked.
const (
	maxInspects = 8
	maxPatient  = 4
)

// Attempts at an answer that was to be had.
const (
	maxTries   = 5
	firstRetry = 200 * time.Millisecond
)

// wish is what is to be asked of a container.
type wish uint8

const (
	nothing wish = iota
	// maybe: it was created or died, and may be in the middle of its start, when
	// the answer waits.
	maybe
	// surely: it started, or something of it changed while it runs.
	surely
)

// record is one container of the tracker.
type record struct {
	facts domain.ContainerFacts
	told  bool   // whoever watches knows of it
	seq   uint64 // of the newest event; an older answer does not count
	want  wish
	busy  wish // of the question under way
	tries int
	after time.Time // not to be asked earlier
}

// result is an answer. Without a record it is about networks.
type result struct {
	record   *record
	id       string
	seq      uint64
	facts    domain.ContainerFacts
	networks []netip.Prefix
	err      error
}

// tracker turns events of one stream into changes. It belongs to one goroutine,
// which runs sync and then run.
type tracker struct {
	client  *engineClient
	log     *slog.Logger
	tell    func(domain.ContainerChange) error
	records map[string]*record
	results chan result
	asking  sync.WaitGroup

	patient, busy int // questions about containers under way

	networks struct {
		dirty, busy bool
		tries       int
		after       time.Time
	}
}

// run follows the events until they end, and returns why.
func (t *tracker) run(ctx context.Context, q *eventQueue) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.asking.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		events, ended := q.take()
		for _, e := range events {
			if err := t.note(e); err != nil {
				return err
			}
		}
		if ended != nil {
			return ended
		}
		var elapsed <-chan time.Time
		if next := t.ask(ctx, time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
			elapsed = timer.C
		}
		select {
		case <-q.ready:
		case <-elapsed:
		case r := <-t.results:
			if err := t.take(r); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// note takes an event in, and tells at once what needs no question.
func (t *tracker) note(e event) error {
	if e.container == "" {
		t.networks.dirty, t.networks.tries, t.networks.after = true, 0, time.Time{}
		return nil
	}
	r, known := t.records[e.container]
	want := surely
	switch e.action {
	case "create":
		want = maybe
	case "start", "rename":
	case "connect", "disconnect":
		// A container that is being started is connected first. It is locked then,
		// and its start is an event, too.
		if !known || !r.facts.Running {
			return nil
		}
	case "die":
		want = maybe
	case "destroy":
		delete(t.records, e.container)
		if !known || !r.told {
			return nil
		}
		return t.tell(domain.ContainerChange{Gone: []string{e.container}})
	default:
		return nil
	}
	if !known {
		if len(t.records) >= maxListed {
			return nil
		}
		r = &record{}
		t.records[e.container] = r
	}
	r.seq++
	r.want = want
	r.tries, r.after = 0, time.Time{}
	if e.action != "die" || !r.facts.Running {
		return nil
	}
	// Its addresses may be another's soon; the answer about the rest can wait.
	r.facts.Running, r.facts.Networks = false, nil
	return t.tell(domain.ContainerChange{Present: []domain.ContainerFacts{r.facts}})
}

// ask starts the questions that are due and for which there is room. It returns
// when the next is due; a zero time is after the next news.
func (t *tracker) ask(ctx context.Context, now time.Time) (next time.Time) {
	due := func(after time.Time) bool {
		if !after.After(now) {
			return true
		}
		if next.IsZero() || after.Before(next) {
			next = after
		}
		return false
	}
	if n := &t.networks; n.dirty && !n.busy && due(n.after) {
		n.dirty, n.busy = false, true
		t.send(ctx, func(ctx context.Context) (r result) {
			r.networks, r.err = t.client.networks(ctx)
			return r
		})
	}
	for _, class := range []wish{surely, maybe} {
		for id, r := range t.records {
			if r.want != class || r.busy != nothing || !due(r.after) {
				continue
			}
			if t.busy == maxInspects || class == maybe && t.patient == maxPatient {
				break
			}
			r.want, r.busy = nothing, class
			t.busy++
			if class == maybe {
				t.patient++
			}
			seq := r.seq
			t.send(ctx, func(ctx context.Context) result {
				f, err := t.client.inspect(ctx, id)
				return result{record: r, id: id, seq: seq, facts: f, err: err}
			})
		}
	}
	return next
}

func (t *tracker) send(ctx context.Context, question func(context.Context) result) {
	t.asking.Go(func() {
		r := question(ctx)
		select {
		case t.results <- r:
		case <-ctx.Done():
		}
	})
}

// take takes an answer in.
func (t *tracker) take(a result) error {
	if a.record == nil {
		return t.takeNetworks(a)
	}
	r := a.record
	class := r.busy
	r.busy = nothing
	t.busy--
	if class == maybe {
		t.patient--
	}
	if t.records[a.id] != r || r.seq != a.seq {
		return nil // something happened meanwhile: it is asked again, or gone
	}
	switch {
	case errors.Is(a.err, domain.ErrNotFound):
		delete(t.records, a.id)
		if !r.told {
			return nil
		}
		return t.tell(domain.ContainerChange{Gone: []string{a.id}})
	case a.err != nil && class == maybe:
		t.log.Debug("inspect a container", "id", a.id, "error", a.err)
		return nil // its next event brings it up again
	case a.err != nil:
		if r.tries++; r.tries == maxTries {
			return a.err
		}
		r.want, r.after = class, time.Now().Add(firstRetry<<(r.tries-1))
		return nil
	}
	r.facts, r.told = a.facts, true
	return t.tell(domain.ContainerChange{Present: []domain.ContainerFacts{a.facts}})
}

func (t *tracker) takeNetworks(a result) error {
	n := &t.networks
	n.busy = false
	if a.err != nil {
		if n.tries++; n.tries == maxTries {
			return a.err
		}
		n.dirty, n.after = true, time.Now().Add(firstRetry<<(n.tries-1))
		return nil
	}
	return t.tell(domain.ContainerChange{Networks: a.networks})
}
