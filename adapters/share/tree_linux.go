package share

import (
	"sync"

	"golang.org/x/sys/unix"
)

// rootID is the device's root in the protocol (FUSE_ROOT_ID).
const rootID = 1

// node is a file that the guest knows. What is not guarded does not change.
type node struct {
	id    uint64
	key   fileKey
	kind  uint32 // the file type of a mode
	share *shared

	// Guarded by the tree. Where the file is: its parent is nil for the roots and
	// for files without a name, and may be wrong after changes on the host.
	parent   *node
	name     string
	lookups  uint64 // that the guest has to forget
	children uint64 // nodes whose parent this is
	gone     bool
	fd       int  // opened with O_PATH, -1 when it is not open
	pins     int  // users of fd
	keep     bool // fd cannot be opened again by the name
	departed bool // there never was such a file
	older    *node
	newer    *node

	mu      sync.Mutex
	owner   ownerNote
	content contentNote
}

// shared is one of the directories that the guest is given.
type shared struct {
	index    int
	readOnly bool
	root     *node
}

func (n *node) isDir() bool     { return n.kind == unix.S_IFDIR }
func (n *node) isRegular() bool { return n.kind == unix.S_IFREG }

// place is where a file is.
type place struct {
	parent *node
	name   string
}

// tree is what the guest knows. It keeps descriptors of files in use and of those
// used last; any other is found again by its name below its parent.
type tree struct {
	limit int // of descriptors

	mu       sync.Mutex
	last     uint64 // id given out
	nodes    map[uint64]*node
	files    map[fileKey]*node
	places   map[place]*node
	open     int  // descriptors that can be closed when nobody uses them
	kept     int  // the others
	departed int  // nodes of files that never were
	idle     node // head of the ring of those that nobody uses, by age
}

func newTree(limit int) *tree {
	t := &tree{limit: limit, last: rootID, nodes: map[uint64]*node{}, files: map[fileKey]*node{}, places: map[place]*node{}}
	t.idle.older, t.idle.newer = &t.idle, &t.idle
	root := &node{id: rootID, kind: unix.S_IFDIR, fd: -1, lookups: 1}
	t.nodes[rootID] = root
	return t
}

// addRoot adds the directory of a share, whose descriptor it takes over.
func (t *tree) addRoot(s *shared, key fileKey, fd int) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.add(s, key, unix.S_IFDIR)
	n.fd, n.keep, n.lookups = fd, true, 1
	t.kept++
	s.root = n
	return n
}

func (t *tree) add(s *shared, key fileKey, kind uint32) *node {
	t.last++
	n := &node{id: t.last, key: key, kind: kind, share: s, fd: -1}
	t.nodes[n.id] = n
	t.files[key] = n
	return n
}

// get finds a node that the guest names.
func (t *tree) get(id uint64) (*node, unix.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[id]; n != nil {
		return n, 0
	}
	return nil, unix.ESTALE
}

// seen counts a lookup of a file that was found at a place.
func (t *tree) seen(s *shared, st *unix.Statx_t, at place) *node {
	key := keyOf(s.index, st)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.files[key]
	if n != nil && n.kind != kindOf(st) { // the number was given out again
		delete(t.files, key)
		n = nil
	}
	if n == nil {
		n = t.add(s, key, kindOf(st))
	}
	n.lookups++
	t.move(n, at)
	return n
}

// nameless counts a lookup of a new file without a name, whose descriptor it takes
// over, unless there are too many of them.
func (t *tree) nameless(s *shared, st *unix.Statx_t, fd int) (*node, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept >= t.limit {
		return nil, unix.ENFILE
	}
	n := t.add(s, keyOf(s.index, st), kindOf(st))
	n.lookups, n.fd, n.keep = 1, fd, true
	t.kept++
	return n, nil
}

// moved notes that what was at one place is now at another.
func (t *tree) moved(from, to place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.places[from]; n != nil {
		t.move(n, to)
	}
}

// swapped notes that two places changed their files.
func (t *tree) swapped(a, b place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, m := t.places[a], t.places[b]
	if n != nil {
		t.move(n, b)
	}
	if m != nil {
		t.move(m, a)
	}
}

// at finds the file that was last seen at a place.
func (t *tree) at(p place) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places[p]
}

// move notes where a file is. Called with mu.
func (t *tree) move(n *node, to place) {
	if n.share != nil && n.share.root == n {
		return
	}
	if n.parent == to.parent && n.name == to.name {
		t.places[to] = n
		return
	}
	if n.isDir() {
		// Moves on the host can make what is remembered a loop.
		for p := to.parent; p != nil; p = p.parent {
			if p == n {
				return
			}
		}
	}
	t.leave(n)
	n.parent, n.name = to.parent, to.name
	to.parent.children++
	t.places[to] = n
}

// leave forgets where a file is. Called with mu.
func (t *tree) leave(n *node) {
	if p := t.part(n); p != nil {
		t.settle(p)
	}
}

// part is leave without a look at what becomes of the parent, which it returns.
func (t *tree) part(n *node) *node {
	p := n.parent
	if p == nil {
		return nil
	}
	if was := (place{p, n.name}); t.places[was] == n {
		delete(t.places, was)
	}
	n.parent, n.name = nil, ""
	p.children--
	return p
}

// forget takes back lookups of the guest.
func (t *tree) forget(id, count uint64) {
	t.mu.Lock()
	n := t.nodes[id]
	if n == nil || id == rootID || n.share.root == n {
		t.mu.Unlock()
		return
	}
	n.lookups -= min(count, n.lookups)
	t.settle(n)
	t.mu.Unlock()
}

// settle removes a node that nobody knows any more, and then those above it: in a
// loop, since how deep directories are is the guest's choice. Called with mu.
func (t *tree) settle(n *node) {
	for n != nil && n.lookups == 0 && n.children == 0 && !n.gone {
		n.gone = true
		delete(t.nodes, n.id)
		if t.files[n.key] == n {
			delete(t.files, n.key)
		}
		if n.departed {
			t.departed--
		}
		if n.fd >= 0 && n.pins == 0 {
			t.rest(n)
			t.shut(n)
		}
		n = t.part(n)
	}
}

// close closes all descriptors. Nothing of the tree is used at that time or later.
func (t *tree) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.nodes {
		if n.fd >= 0 {
			t.shut(n)
		}
	}
	t.nodes, t.files, t.places = nil, nil, nil
}

// maxDeparted bounds the files that never were. The guest asks for them one by one
// and forgets them soon.
const maxDeparted = 4096

// revive counts a lookup of a file that is not on the host any more: the one that
// was last seen at that place, or else one that never was. It returns nil when there
// are too many of those.
func (t *tree) revive(at place) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.places[at]
	if n == nil {
		if t.departed >= maxDeparted {
			return nil
		}
		n = t.add(at.parent.share, fileKey{share: -1, ino: t.last + 1}, unix.S_IFREG)
		n.departed = true
		t.departed++
		t.move(n, at)
	}
	n.lookups++
	return n
}
