//go:build linux

package vhostuser

import (
	"time"
)

// DrainTime bounds how long a queue that stops waits for chains that are being
// answered: a system call on a dead network file system may never return.
const DrainTime = 10 * time.Second

// Chain is a chain of buffers that is answered while the queue goes on. It keeps
// the guest's memory mapped until it is done with.
type Chain struct {
	queue *Queue
	table *memTable
	run   uint64 // of the queue
	head  uint16
	// Segments are the chain's buffers, in the driver's order.
	Segments []Segment
}

// take takes the next chain into c. ok is false when there is none. The error is
// for Break. Called with mu of a live queue.
func (q *Queue) take(c *Chain) (ok bool, err error) {
	head, segs, ok, err := q.ring.pop()
	if !ok || err != nil {
		return false, err
	}
	q.ring.mem.acquire()
	*c = Chain{queue: q, table: q.ring.mem, run: q.run, head: head, Segments: append(c.Segments[:0], segs...)}
	q.inFlight++
	return true, nil
}

// done gives the chain back with n bytes written to its writable segments, from
// the first on. A queue that was stopped meanwhile has no more use for it. It
// reports whether the driver is to be told. Called with mu.
func (c *Chain) done(n int) (signal bool) {
	q := c.queue
	if q.run == c.run {
		if q.inFlight--; q.inFlight == 0 && q.drained != nil {
			close(q.drained)
			q.drained = nil
		}
		if q.ring.bound() && q.broken == nil {
			left := n
			for _, s := range c.Segments {
				if s.Writable {
					q.ring.log.mark(s.GPA, min(left, len(s.Mem)))
					left = max(0, left-len(s.Mem))
				}
			}
			q.ring.push(c.head, n)
			signal = q.ring.wantsSignal()
		}
	}
	clear(c.Segments)
	c.table.release()
	c.table = nil
	return signal
}

// drain waits until no chain of this run of the queue is being answered, for
// DrainTime at most, and begins another run. Only the control goroutine calls it,
// when no more chains are taken.
func (q *Queue) drain(limit time.Duration) {
	q.mu.Lock()
	var wait chan struct{}
	if q.inFlight > 0 {
		wait = make(chan struct{})
		q.drained = wait
	}
	q.mu.Unlock()
	if wait != nil {
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case <-wait:
		case <-t.C:
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.run++ // what is not done by now is not this queue's any more
	q.inFlight, q.drained = 0, nil
}
