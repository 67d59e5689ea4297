package share

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories are opened to find a file again: a path of the
// host has no more names (PATH_MAX / 2).
const maxDepth = 2048

// pin returns a descriptor of the file (O_PATH) that stays open until unpin.
func (t *tree) pin(n *node) (int, error) { return t.pinBelow(n, 0) }

func (t *tree) pinBelow(n *node, depth int) (int, error) {
	t.mu.Lock()
	if n.fd >= 0 {
		t.hold(n)
		fd := n.fd
		t.mu.Unlock()
		return fd, nil
	}
	at, gone := place{n.parent, n.name}, n.gone
	t.mu.Unlock()
	if gone || at.parent == nil || depth > maxDepth {
		return -1, unix.ESTALE
	}
	dir, err := t.pinBelow(at.parent, depth+1)
	if err != nil {
		return -1, err
	}
	defer t.unpin(at.parent)
	fd, err := t.openPath(dir, at.name)
	if err != nil {
		return -1, stale(err)
	}
	if err := verify(n, fd, ""); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return t.adopt(n, fd)
}

// adopt makes fd the descriptor of n, unless it has one meanwhile, and pins it.
func (t *tree) adopt(n *node, fd int) (int, error) {
	t.mu.Lock()
	if n.gone {
		t.mu.Unlock()
		_ = unix.Close(fd)
		return -1, unix.ESTALE
	}
	if n.fd >= 0 {
		t.hold(n)
		have := n.fd
		t.mu.Unlock()
		_ = unix.Close(fd)
		return have, nil
	}
	n.fd, n.pins = fd, 1
	t.open++
	old := t.trim()
	t.mu.Unlock()
	closeAll(old)
	return fd, nil
}

// openPath opens a name without following it or touching what it is. When this
// process has no descriptor left, those that nobody uses make room.
func (t *tree) openPath(dir int, name string) (int, error) {
	for again := true; ; again = false {
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case again && (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)) && t.makeRoom():
			continue
		}
		return fd, err
	}
}

// makeRoom closes half of the descriptors that nobody uses.
func (t *tree) makeRoom() bool {
	t.mu.Lock()
	limit := t.limit
	t.limit = t.open / 2
	old := t.trim()
	t.limit = limit
	t.mu.Unlock()
	closeAll(old)
	return len(old) > 0
}

// verify makes sure that a name, or the descriptor when there is none, is still the
// file n.
func verify(n *node, fd int, name string) error {
	var st unix.Statx_t
	if err := statAt(fd, name, &st); err != nil {
		return stale(err)
	}
	if keyOf(n.key.share, &st) != n.key || kindOf(&st) != n.kind {
		return unix.ESTALE
	}
	return nil
}

// stale is what it means for a file that was known when its name leads nowhere.
func stale(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return unix.ESTALE
	}
	return err
}

// unpin ends the use of a pinned descriptor.
func (t *tree) unpin(n *node) {
	t.mu.Lock()
	n.pins--
	if n.pins > 0 {
		t.mu.Unlock()
		return
	}
	if n.gone {
		t.shut(n)
		t.mu.Unlock()
		return
	}
	if !n.keep {
		n.newer, n.older = &t.idle, t.idle.older
		n.newer.older, n.older.newer = n, n
	}
	t.mu.Unlock()
}

// hold counts a user of an open descriptor. Called with mu.
func (t *tree) hold(n *node) {
	t.rest(n)
	n.pins++
}

// rest takes n out of the ring of descriptors that nobody uses. Called with mu.
func (t *tree) rest(n *node) {
	if n.older == nil {
		return
	}
	n.older.newer, n.newer.older = n.newer, n.older
	n.older, n.newer = nil, nil
}

// keepOpen says that the file has lost its name, so that its descriptor is all there
// is. The caller has pinned it. A guest that uses too many such files loses them.
func (t *tree) keepOpen(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !n.keep && t.kept < t.limit {
		n.keep = true
		t.kept++
		t.open--
	}
}

// shut closes the descriptor of n. Called with mu.
func (t *tree) shut(n *node) {
	_ = unix.Close(n.fd)
	n.fd = -1
	if n.keep {
		t.kept--
	} else {
		t.open--
	}
}

// trim takes descriptors that were not used for longest off their nodes while there
// are too many; the caller closes them. Called with mu.
func (t *tree) trim() (old []int) {
	for t.open > t.limit {
		n := t.idle.newer // the head's newer is the oldest
		if n == &t.idle {
			break
		}
		t.rest(n)
		old = append(old, n.fd)
		n.fd = -1
		t.open--
	}
	return old
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// stat looks at a file, by its descriptor if it is open, else by its name.
func (t *tree) stat(n *node, st *unix.Statx_t) error {
	t.mu.Lock()
	at := place{n.parent, n.name}
	byName := n.fd < 0 && at.parent != nil && !n.gone
	t.mu.Unlock()
	if !byName {
		fd, err := t.pin(n)
		if err != nil {
			return err
		}
		defer t.unpin(n)
		return statAt(fd, "", st)
	}
	dir, err := t.pin(at.parent)
	if err != nil {
		return err
	}
	defer t.unpin(at.parent)
	if err := statAt(dir, at.name, st); err != nil {
		return stale(err)
	}
	if keyOf(n.key.share, st) != n.key || kindOf(st) != n.kind {
		return unix.ESTALE
	}
	return nil
}

// procPath is the name by which the kernel finds what a descriptor is open on. A
// symbolic link there is not followed further.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
