package kvm

import (
	"encoding/json"
	"fmt"
	"sync"

	"arcbox/application/port"
)

// pause is why a machine stands still, and who waits for that to change. Its
// methods may be called by any goroutine.
type pause struct {
	mu      sync.Mutex
	why     string
	changed chan struct{}
}

func newPause() *pause { return &pause{changed: make(chan struct{})} }

// set reports whether that is news.
func (p *pause) set(why string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == why {
		return false
	}
	p.why = why
	close(p.changed)
	p.changed = make(chan struct{})
	return true
}

var _ port.Pausing = (*machine)(nil)

// Paused implements port.Pausing.
func (m *machine) Paused() (why string, changed <-chan struct{}) {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	return m.pause.why, m.pause.changed
}

// storageTrouble is what is told of a machine that was paused since the host
// did not store what it wrote. data is that of QEMU's event BLOCK_IO_ERROR
// (qapi/block-core.json), or nothing.
func storageTrouble(data []byte) string {
	const after = "free some space; the virtual machine goes on by itself, nothing is lost"
	var e struct {
		Reason  string `json:"reason"`
		NoSpace bool   `json:"nospace"`
	}
	if json.Unmarshal(data, &e) != nil || e.NoSpace || e.Reason == "" {
		return "the host's disk is full: " + after // ENOSPC is all that QEMU pauses for
	}
	return fmt.Sprintf("the host cannot store the data disk (%.100s): %s", e.Reason, after)
}
