//go:build linux

package vhostuser

import "sync"

// Workers answer the chains of a queue at the same time, each on a goroutine of
// its own.
type Workers struct {
	queue  *Queue
	limit  int
	answer func(*Chain) int
	broken func(error)

	busy  int // guarded by the queue
	tasks sync.WaitGroup
}

// NewWorkers makes q hand its chains to answer, up to limit at a time. answer
// returns the number of bytes that it wrote to the chain's writable segments from
// the first on; it may neither keep the chain nor trust what is in it. broken
// learns that the driver broke the queue. It is called before Serve; Wait ends
// the use.
func NewWorkers(q *Queue, limit int, answer func(*Chain) int, broken func(error)) *Workers {
	w := &Workers{queue: q, limit: limit, answer: answer, broken: broken}
	q.OnKick = w.kick
	return w
}

// Wait returns when no chain is being answered and is called after Serve: chains
// may be, if answering them took longer than a queue waits when it stops.
func (w *Workers) Wait() { w.tasks.Wait() }

// kick runs on the queue's goroutine.
func (w *Workers) kick() {
	for {
		c := &Chain{}
		if !w.next(c) {
			return
		}
		w.tasks.Go(func() { w.work(c) })
	}
}

// next takes a chain for one more worker. Where there is none, or no worker is
// free, it is false: then the driver will kick, or a worker looks when it is done.
func (w *Workers) next(c *Chain) bool {
	q := w.queue
	q.Lock()
	if !q.Live() || w.busy == w.limit {
		q.Unlock()
		return false
	}
	ok, err := w.takeOrAsk(c)
	if ok {
		w.busy++
	}
	q.Unlock()
	if err != nil {
		w.broken(err)
	}
	return ok
}

// takeOrAsk takes a chain, or else asks the driver for a kick. Called with mu of
// a live queue.
func (w *Workers) takeOrAsk(c *Chain) (bool, error) {
	for {
		ok, err := w.queue.take(c)
		if err != nil {
			return false, w.queue.Break(err)
		}
		if ok || !w.queue.AskKick() {
			return ok, nil
		}
	}
}

// work answers c and what else there is.
func (w *Workers) work(c *Chain) {
	for c != nil {
		n := w.answer(c)
		q := w.queue
		q.Lock()
		signal := c.done(n)
		// A kick may not have found a free worker, so it is this one's to look.
		more, err := false, error(nil)
		if q.Live() {
			more, err = w.takeOrAsk(c)
		}
		if !more {
			w.busy--
			c = nil
		}
		q.Unlock()
		if signal {
			q.Notify()
		}
		if err != nil {
			w.broken(err)
		}
	}
}
