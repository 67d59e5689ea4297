package kvm

import (
	"strings"
	"sync"
)

// tailSize is how much of a process's messages is kept, bytes.
const tailSize = 8 << 10

// tail keeps the first line and the end of what is written to it.
type tail struct {
	mu        sync.Mutex
	first     []byte
	firstDone bool
	last      []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range p {
		if t.firstDone || len(t.first) == tailSize {
			break
		}
		if b == '\n' {
			t.firstDone = len(t.first) > 0
			continue
		}
		t.first = append(t.first, b)
	}
	t.last = append(t.last, p...)
	if n := len(t.last) - tailSize; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(p), nil
}

// First returns the first line that is not empty.
func (t *tail) First() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.first), "?"))
}

// String returns the end of what was written.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.last), "?"))
}
