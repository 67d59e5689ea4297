package docker

import (
	"io"
	"sync"
)

// windowSize is what one read takes at most. A window grows to headLimit when
// a head does not fit.
const windowSize = 32 << 10

// windows lends buffers to connections.
type windows struct{ pool sync.Pool }

func (ws *windows) borrow() *window {
	if w, ok := ws.pool.Get().(*window); ok {
		return w
	}
	return &window{buf: make([]byte, windowSize)}
}

func (ws *windows) give(w *window) {
	w.start, w.end = 0, 0
	if len(w.buf) == windowSize {
		ws.pool.Put(w)
	}
}

// window holds bytes that were read and not yet passed on.
type window struct {
	buf        []byte
	start, end int
}

func (w *window) bytes() []byte { return w.buf[w.start:w.end] }

func (w *window) skip(n int) {
	if w.start += n; w.start == w.end {
		w.start, w.end = 0, 0
	}
}

// full reports whether no read can add anything.
func (w *window) full() bool { return w.end-w.start >= headLimit }

// read adds what one Read of src gives. The window must not be full.
func (w *window) read(src io.Reader) (int, error) {
	if w.end == len(w.buf) {
		if w.start > 0 {
			w.end = copy(w.buf, w.buf[w.start:w.end])
			w.start = 0
		} else {
			w.buf = append(make([]byte, 0, headLimit), w.buf...)[:headLimit]
		}
	}
	n, err := src.Read(w.buf[w.end:])
	w.end += n
	return n, err
}
