package hostwatch

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// watchLoop is the state of a treeWatch. It belongs to one goroutine.
//
// Invariants: byWD has a node exactly while the node's wd is its key; a node is
// kept only while it is watched, or trees or watched nodes are below it.
type watchLoop struct {
	options Options
	kernel  kernel
	changed func([]domain.PathChange)
	limited func(error)
	calls   chan<- func()

	root *node // "/"
	// byWD has more than one node for a directory that has several paths.
	byWD map[int32][]*node
	jobs jobs

	pending     domain.PathChanges
	first, last time.Time // of the events that are pending
	busy        bool      // a function is being called

	missed missed
	told   error // the last call of limited
	failed error // the kernel tells nothing any more
}

// missed is the first directory that could not be watched.
type missed struct {
	tree, path string
	err        error
}

// apply makes paths the trees.
func (l *watchLoop) apply(paths []string) {
	wanted := map[string]bool{}
	for _, p := range paths {
		wanted[p] = true
	}
	var old []*node
	l.root.trees(func(n *node) {
		if !wanted[n.root] {
			old = append(old, n)
		}
		delete(wanted, n.root)
	})
	for _, p := range paths {
		if !wanted[p] {
			continue
		}
		delete(wanted, p)
		n := l.root.at(p)
		n.root = p
		n.count(1)
		l.enqueue(job{path: p, tree: true}, false)
	}
	for _, n := range old {
		n.root, n.present = "", false
		n.count(-1)
		if n.tree() == nil {
			l.drop(n)
			l.prune(n)
		}
	}
	if l.missed.path != "" {
		l.rescan(quietly, time.Time{})
	}
}

// rescan looks for directories that are not watched, in all trees.
func (l *watchLoop) rescan(tell telling, since time.Time) {
	l.missed = missed{}
	l.root.trees(func(n *node) { l.enqueue(job{path: n.root, tree: true, tell: tell, since: since}, false) })
}

// retry looks whether there is room for more watches by now.
func (l *watchLoop) retry() {
	switch {
	case errors.Is(l.missed.err, unix.ENOSPC):
		wd, err := l.kernel.add(l.missed.path, maskNames, false)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err == nil && l.byWD[wd] == nil {
			l.kernel.remove(wd)
		}
	case len(l.byWD) >= l.options.Limit-l.options.Limit/10:
		return
	}
	l.rescan(quietly, time.Time{})
}

// watch has the kernel watch a node's directory.
func (l *watchLoop) watch(n *node, p string, mask uint32, follow bool) error {
	if n.wd == 0 && len(l.byWD) >= l.options.Limit {
		err := fmt.Errorf("%d directories are watched already", l.options.Limit)
		l.miss(n, p, err)
		return err
	}
	wd, err := l.kernel.add(p, mask, follow)
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM) {
			l.miss(n, p, err)
		}
		return err
	}
	if n.wd != wd {
		l.unwatch(n)
		n.wd = wd
		l.byWD[wd] = append(l.byWD[wd], n)
	}
	return nil
}

func (l *watchLoop) unwatch(n *node) {
	if n.wd == 0 {
		return
	}
	wd := n.wd
	n.wd = 0
	var rest []*node
	for _, other := range l.byWD[wd] {
		if other != n {
			rest = append(rest, other)
		}
	}
	if rest != nil {
		l.byWD[wd] = rest
		return
	}
	delete(l.byWD, wd)
	l.kernel.remove(wd)
}

// drop ends what a former tree needed, but not what trees below it need.
func (l *watchLoop) drop(n *node) {
	for _, c := range n.children {
		if c.root == "" {
			l.drop(c)
			c.leave()
		}
	}
	if n.roots == 0 {
		l.unwatch(n)
	}
}

// prune ends the watches on the way to a former tree.
func (l *watchLoop) prune(n *node) {
	for ; n != nil && n.roots == 0; n = n.parent {
		l.unwatch(n)
		n.leave()
	}
}

// forget ends all watches of a directory that is not at its path any more.
func (l *watchLoop) forget(n *node) {
	l.unwatch(n)
	n.present = false
	for _, c := range n.children {
		l.forget(c)
		c.leave()
	}
}

// miss notes that a directory at or below a node is not watched.
func (l *watchLoop) miss(n *node, p string, err error) {
	if l.missed.path != "" {
		return
	}
	l.missed = missed{tree: p, path: p, err: err}
	if t := n.tree(); t != nil {
		l.missed.tree = t.root
	}
}

// incomplete is why not everything is watched, or nil.
func (l *watchLoop) incomplete() error {
	switch {
	case l.failed != nil:
		return l.failed
	case l.missed.path == "":
		return nil
	}
	hint := "raise vm.watch_limit"
	if errors.Is(l.missed.err, unix.ENOSPC) {
		hint = "raise the kernel's limit: sysctl -w fs.inotify.max_user_watches=524288"
	}
	return domain.WithHint(fmt.Errorf("not all of %s is watched for changes, from %s on: %w: %w", l.missed.tree, l.missed.path, l.missed.err, domain.ErrUnavailable), hint)
}

// settle makes the calls that are due and can be made.
func (l *watchLoop) settle() {
	if l.busy {
		return
	}
	if l.jobs.len() == 0 || l.failed != nil {
		if now := l.incomplete(); (now == nil) != (l.told == nil) {
			l.told = now
			l.busy = true
			l.calls <- func() { l.limited(now) }
			return
		}
	}
	l.relieve()
}

// relieve tells changes before their time when there are too many.
func (l *watchLoop) relieve() {
	if l.pending.Full() && !l.busy {
		l.deliver()
	}
}

// due is when the pending changes are to be told; a zero time is not now.
func (l *watchLoop) due() time.Time {
	if l.busy || l.pending.Len() == 0 {
		return time.Time{}
	}
	at := l.last.Add(quiet)
	if end := l.first.Add(longest); end.Before(at) {
		return end
	}
	return at
}

// deliver tells the pending changes. Nothing is being called.
func (l *watchLoop) deliver() {
	changes := l.pending.Take()
	if len(changes) == 0 {
		return
	}
	l.busy = true
	l.calls <- func() { l.changed(changes) }
}

// report takes in a change in a tree.
func (l *watchLoop) report(tree *node, p string, e domain.FileEvent) {
	if l.options.Guest != nil && l.options.Guest.Wrote(p) {
		return
	}
	l.last = time.Now()
	if l.pending.Len() == 0 {
		l.first = l.last
	}
	l.pending.Add(tree.root, p, e)
}
