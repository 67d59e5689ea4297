//go:build linux

package vhostuser

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// trimEvery is how often the device looks whether a transfer is over.
	trimEvery = 10 * time.Second
	// quietChains is how many chains may move between two looks while the device
	// counts as quiet: heartbeats and single requests go on all the time.
	quietChains = 512
	// worthChains is how many chains must have moved since the last time for
	// there to be pages worth giving up; a chain touches one buffer, up to 64 KiB.
	worthChains = 1024
)

// trim gives up the pages of the guest's memory that a transfer left mapped,
// until end is closed. They are the hypervisor's and stay as they are, but
// count as this process's memory for as long as its page table has them.
func (s *Server) trim(end <-chan struct{}) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	var t trimmer
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		pushed := uint64(0)
		for _, q := range s.queues {
			pushed += q.pushed()
		}
		if t.due(pushed) {
			s.queues[0].Trim()
		}
	}
}

// trimmer decides when a transfer is over.
type trimmer struct {
	seen  uint64 // the count at the last look
	since uint64 // chains since pages were given up
}

// due takes the count of chains so far, and is true when many have moved since
// it was last true and few since it was last called.
func (t *trimmer) due(pushed uint64) bool {
	step := pushed - t.seen // a count that began anew looks like a large step
	t.seen = pushed
	t.since += min(step, worthChains)
	if step > quietChains || t.since < worthChains {
		return false
	}
	t.since = 0
	return true
}

func (q *Queue) pushed() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ring.pushed
}

// Trim gives up the pages of all of the guest's memory. A table is unmapped only after
// every queue has left it, so the mutex of one queue keeps it.
func (q *Queue) Trim() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.table.trim()
}

// trim takes the guest's memory out of this process's page table. The pages
// belong to the file, so nothing is lost, and a use at the same time or later
// maps them again.
func (t *memTable) trim() {
	if t == nil {
		return
	}
	for i := range t.regions {
		_ = unix.Madvise(t.regions[i].mmap, unix.MADV_DONTNEED) // the pages just stay
	}
}
