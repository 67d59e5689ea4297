package share

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is an open file or directory. Its descriptor is closed when the last user
// has released it, so that a guest that closes a file which it reads gets no other.
type handle struct {
	node  *node
	fd    int
	users atomic.Int64 // requests, and the table until the guest closes it
	// privileged says that the file had set-user-id or set-group-id bits, which a
	// write takes away.
	privileged atomic.Bool

	mu      sync.Mutex // guards the rest, which is a directory's
	listing listing
	lists   *lists
	keeps   bool // listing has a buffer, which counts among the kept ones
}

// release ends a use; none is no handle.
func (h *handle) release() {
	if h != nil && h.users.Add(-1) == 0 {
		_ = unix.Close(h.fd)
		if h.keeps {
			h.lists.kept.Add(-1)
		}
	}
}

// handles are what the guest has open.
type handles struct {
	limit int
	lists lists

	mu   sync.Mutex
	last uint64
	byID map[uint64]*handle
}

func newHandles(limit int) *handles { return &handles{limit: limit, byID: map[uint64]*handle{}} }

// add takes over fd, which it closes when there are too many.
func (t *handles) add(n *node, fd int) (uint64, *handle, error) {
	h := &handle{node: n, fd: fd, lists: &t.lists}
	h.users.Store(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.limit {
		_ = unix.Close(fd)
		return 0, nil, unix.ENFILE
	}
	t.last++
	t.byID[t.last] = h
	return t.last, h, nil
}

// get finds an open file for its caller to release, or nil.
func (t *handles) get(id uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	if h != nil {
		h.users.Add(1)
	}
	return h
}

// drop closes what the guest has closed.
func (t *handles) drop(id uint64) {
	t.mu.Lock()
	h := t.byID[id]
	delete(t.byID, id)
	t.mu.Unlock()
	h.release()
}

func (t *handles) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, h := range t.byID {
		h.release()
		delete(t.byID, id)
	}
}
