//go:build linux

package vhostuser

import "fmt"

// Lock is for the methods below, which need it, and for what a device guards
// with it.
func (q *Queue) Lock() { q.mu.Lock() }

// Unlock ends Lock.
func (q *Queue) Unlock() { q.mu.Unlock() }

// Live says whether chains may be moved: the methods below are only for then,
// but Break, Bound, WantsSignal of a bound queue, and Wrote.
func (q *Queue) Live() bool {
	return q.kick != nil && q.enabled && q.ring.bound() && q.broken == nil
}

// Bound says whether the queue has a ring.
func (q *Queue) Bound() bool { return q.ring.bound() }

// Pending is the number of chains that the driver has made available and nobody
// has taken. The error is for Break.
func (q *Queue) Pending() (int, error) { return q.ring.pending() }

// Pop takes the next chain; the segments are valid until the next Pop, or until
// Unlock. ok is false when there is none. The error is for Break.
func (q *Queue) Pop() (head uint16, segs []Segment, ok bool, err error) { return q.ring.pop() }

// PopMore is Pop for one more chain of the same packet: the segments of those
// since the last Pop stay valid.
func (q *Queue) PopMore() (head uint16, segs []Segment, ok bool, err error) { return q.ring.popMore() }

// Unpop gives back the last n chains that were taken and not put.
func (q *Queue) Unpop(n int) { q.ring.unpop(n) }

// Push gives a chain back with n bytes written to it.
func (q *Queue) Push(head uint16, n int) { q.ring.push(head, n) }

// Put is Push without telling the driver: for that there is Flush.
func (q *Queue) Put(head uint16, n int) { q.ring.put(head, n) }

// Flush shows the driver, at once, all chains that were put.
func (q *Queue) Flush() { q.ring.flush() }

// WantsSignal decides whether the driver must be told, by Notify, about what
// was given back since the last call.
func (q *Queue) WantsSignal() bool { return q.ring.wantsSignal() }

// AskKick asks for a kick at the next chain; it is true when a chain is there
// already and the caller has to look again.
func (q *Queue) AskKick() bool { return q.ring.askKick() }

// RefuseKick spares the driver kicks while the queue is looked at anyway.
func (q *Queue) RefuseKick() { q.ring.refuseKick() }

// Wrote notes, after the write, that the first n bytes of a segment are new.
func (q *Queue) Wrote(s Segment, n int) { q.ring.log.mark(s.GPA, n) }

// Break ends the use of a queue whose driver broke the rules, until it is
// started again, and returns an error that says so.
func (q *Queue) Break(err error) error {
	q.broken = fmt.Errorf("the guest's driver broke queue %d: %w", q.index, err)
	return q.broken
}
