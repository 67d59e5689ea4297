package logring

import (
	"bytes"
	"sync"
)

// Writer turns a byte stream into lines of one component. The bytes of an
// unfinished line wait for their newline, at most MaxLine of them.
type Writer struct {
	store     *Store
	component string
	mu        sync.Mutex
	rest      []byte
	skip      bool // the rest of an oversized line is dropped
}

// Writer returns a writer for a component, for one process's output. Flush it
// when the process has ended.
func (s *Store) Writer(component string) *Writer {
	return &Writer{store: s, component: component}
}

// Write never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		line, after, whole := bytes.Cut(p, []byte("\n"))
		p = after
		if w.skip {
			w.skip = !whole
			continue
		}
		w.rest = append(w.rest, line...)
		if whole || len(w.rest) > MaxLine {
			w.store.Append(w.component, w.rest)
			w.rest, w.skip = w.rest[:0], !whole
		}
	}
	return n, nil
}

// Flush ends an unfinished line.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.store.Append(w.component, w.rest)
	}
	w.rest, w.skip = w.rest[:0], false
}
