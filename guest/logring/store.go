// Package logring keeps the last lines of each of the guest's components in
// memory, bounded in bytes, for whoever reads them later or follows them.
package logring

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// The bounds of one component.
const (
	MaxBytes = 512 << 10
	MaxLine  = 16 << 10
)

// cut ends a line that was longer than MaxLine.
const cut = " [line cut]"

// Chunk is a run of consecutive lines of one component.
type Chunk struct {
	Component string
	Data      []byte // whole lines, each ended by a newline
	Dropped   uint64 // lines lost between the position asked for and Data
	Next      uint64 // position of the line after Data
}

// Store holds the rings. Its methods may be called by any goroutine; writing
// never waits for readers.
type Store struct {
	mu      sync.Mutex
	rings   map[string]*ring
	changed chan struct{}
	waiting bool
}

type ring struct {
	lines [][]byte // oldest first, each with its newline
	bytes int
	next  uint64 // number of the line that comes next
}

// New returns an empty store.
func New() *Store {
	return &Store{rings: map[string]*ring{}, changed: make(chan struct{})}
}

// Append adds one line; a trailing newline is dropped, newlines inside are
// kept apart as lines of their own, and a line longer than MaxLine is cut.
func (s *Store) Append(component string, line []byte) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[component]
	if r == nil {
		r = &ring{}
		s.rings[component] = r
	}
	for part := range bytes.SplitSeq(line, []byte("\n")) {
		r.add(part)
	}
	if s.waiting {
		close(s.changed)
		s.changed, s.waiting = make(chan struct{}), false
	}
}

func (r *ring) add(line []byte) {
	var b []byte
	if len(line) > MaxLine {
		b = append(append(make([]byte, 0, MaxLine+len(cut)+1), line[:MaxLine]...), cut...)
	} else {
		b = append(make([]byte, 0, len(line)+1), line...)
	}
	b = append(b, '\n')
	r.lines = append(r.lines, b)
	r.bytes += len(b)
	r.next++
	drop := 0
	for r.bytes > MaxBytes {
		r.bytes -= len(r.lines[drop])
		r.lines[drop] = nil
		drop++
	}
	r.lines = r.lines[drop:]
}

// Tail returns up to n of the component's last lines, oldest first, without
// their newlines.
func (s *Store) Tail(component string, n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rings[component]
	if r == nil {
		return nil
	}
	lines := r.lines[max(0, len(r.lines)-n):]
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = string(l[:len(l)-1])
	}
	return out
}

// Next waits until some component has lines at or behind its position and
// returns up to limit bytes of them (at least one line), or ctx's error. It
// advances the position in positions, which the caller owns. A component that
// is not in positions starts with the oldest line that is kept.
func (s *Store) Next(ctx context.Context, positions map[string]uint64, limit int) (Chunk, error) {
	for {
		s.mu.Lock()
		c, ok := s.take(positions, limit)
		changed := s.changed
		if !ok {
			s.waiting = true
		}
		s.mu.Unlock()
		if ok {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		case <-changed:
		}
	}
}

func (s *Store) take(positions map[string]uint64, limit int) (Chunk, bool) {
	names := make([]string, 0, len(s.rings))
	for name := range s.rings {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := s.rings[name]
		first := r.next - uint64(len(r.lines))
		from, known := positions[name]
		if !known || from > r.next {
			from = first // a position of another boot says nothing about this one
		}
		if from == r.next {
			continue
		}
		c := Chunk{Component: name, Next: from}
		if from < first {
			c.Dropped, c.Next = first-from, first
		}
		for _, l := range r.lines[c.Next-first:] {
			if len(c.Data) > 0 && len(c.Data)+len(l) > limit {
				break
			}
			c.Data = append(c.Data, l...)
			c.Next++
		}
		positions[name] = c.Next
		return c, true
	}
	return Chunk{}, false
}
