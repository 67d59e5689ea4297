package share

import (
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/application/port"
)

const (
	// remembered is how long a change of the guest is known as its own: longer
	// than the host's watcher is behind.
	remembered = 5 * time.Second
	// maxWrites bounds what is remembered. A guest that changes more at once has
	// some of it told to its watchers a second time.
	maxWrites = 1 << 16
)

// guestWrites is what guests changed a moment ago.
type guestWrites struct {
	mu    sync.Mutex
	notes map[written]*writeNote
}

// written is a file, or with a name an entry of a directory.
type written struct {
	dev, ino uint64
	name     string
}

type writeNote struct {
	busy    int   // changes under way
	changed int64 // the file's time of change after the last one, nanoseconds since 1970
	removed bool  // the last one took the entry away
	at      time.Time
}

var _ port.GuestWrites = (*Shares)(nil)

func newWrites() *guestWrites { return &guestWrites{notes: map[written]*writeNote{}} }

// Wrote implements port.GuestWrites.
func (s *Shares) Wrote(path string) bool {
	var dir, st unix.Statx_t
	parent := statAt(unix.AT_FDCWD, filepath.Dir(path), &dir) == nil
	there := statAt(unix.AT_FDCWD, path, &st) == nil
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	if parent {
		n := s.writes.notes[entryOf(&dir, filepath.Base(path))]
		switch {
		case n == nil:
		case n.busy > 0, !there && n.removed && time.Since(n.at) < remembered:
			return true
		}
	}
	if !there {
		return false
	}
	n := s.writes.notes[fileOf(&st)]
	return n != nil && (n.busy > 0 || n.changed == changeOf(&st) && time.Since(n.at) < remembered)
}

func fileOf(st *unix.Statx_t) written { return written{dev: deviceOf(st), ino: st.Ino} }

func entryOf(dir *unix.Statx_t, name string) written {
	return written{dev: deviceOf(dir), ino: dir.Ino, name: name}
}

func changeOf(st *unix.Statx_t) int64 { return st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec) }

// begin notes that the guest is about to change something. Each begin has an end.
func (w *guestWrites) begin(what written) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.notes[what]
	if n == nil {
		if len(w.notes) >= maxWrites {
			w.forget()
		}
		n = &writeNote{}
		w.notes[what] = n
	}
	n.busy++
}

// end notes that it has; changed is the file's time of change, 0 when it is not
// known.
func (w *guestWrites) end(what written, changed int64) {
	w.finish(what, func(n *writeNote) { n.changed = changed })
}

// left notes that a change of an entry is over, after which it is there or not.
func (w *guestWrites) left(what written, there bool) {
	w.finish(what, func(n *writeNote) { n.removed = !there })
}

// failed notes that nothing was changed: what was known of the change before is
// still so.
func (w *guestWrites) failed(what written) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.notes[what]; n.busy > 1 || !n.at.IsZero() {
		n.busy--
	} else {
		delete(w.notes, what)
	}
}

func (w *guestWrites) finish(what written, note func(*writeNote)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.notes[what]
	n.busy--
	n.at = time.Now()
	note(n)
}

// again notes that the host is about to tell of a file without a change of it, as
// when it is closed: it is the guest's if the last change was.
func (w *guestWrites) again(st *unix.Statx_t) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.notes[fileOf(st)]; n != nil && n.changed == changeOf(st) {
		n.at = time.Now()
	}
}

// wrote notes a file that was not known before it was changed.
func (w *guestWrites) wrote(st *unix.Statx_t) {
	w.begin(fileOf(st))
	w.end(fileOf(st), changeOf(st))
}

// forget makes room: the old go, and when that is too few, all that rest.
func (w *guestWrites) forget() {
	now := time.Now()
	for _, age := range []time.Duration{remembered, 0} {
		for k, n := range w.notes {
			if n.busy == 0 && now.Sub(n.at) >= age {
				delete(w.notes, k)
			}
		}
		if len(w.notes) < maxWrites/2 {
			return
		}
	}
}
