package hostwatch

import (
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// slack is by how much a file's times may be behind the clock: the kernel's are
// coarse, and those of a file server its own.
const slack = time.Second

// take takes events in.
func (l *watchLoop) take(r reading) {
	if r.err != nil {
		l.failed = r.err
		return
	}
	for _, e := range r.events {
		switch {
		case e.mask&unix.IN_Q_OVERFLOW != 0:
			l.options.Log.Debug("changes of files came too fast", "looked_for_since", r.clean)
			l.rescan(tellNewer, r.clean.Add(-slack))
		case e.mask&unix.IN_IGNORED != 0: // the directory is gone, or its file system
			for _, n := range l.byWD[e.wd] {
				n.wd = 0
				n.leave()
			}
			delete(l.byWD, e.wd)
		case e.name != "":
			for _, n := range l.byWD[e.wd] {
				if tree := n.tree(); tree != nil {
					l.inTree(tree, n, e)
				} else if c := n.children[e.name]; c != nil && c.roots > 0 {
					l.onTheWay(c, e)
				}
			}
		}
	}
}

const (
	came = unix.IN_CREATE | unix.IN_MOVED_TO
	went = unix.IN_DELETE | unix.IN_MOVED_FROM
)

// inTree takes in what happened to a name in a directory of a tree.
func (l *watchLoop) inTree(tree, dir *node, e event) {
	p := path.Join(dir.path(), e.name)
	if slices.Contains(l.options.Hidden, p) {
		return
	}
	isDir := e.mask&unix.IN_ISDIR != 0
	switch {
	case e.mask&went != 0:
		l.report(tree, p, domain.FileRemoved)
		if c := dir.children[e.name]; c != nil && isDir {
			l.forget(c)
			c.leave()
		}
	case e.mask&unix.IN_CREATE != 0 && !isDir:
		l.report(tree, p, domain.FileCreated)
	default:
		l.report(tree, p, domain.FileChanged)
	}
	if e.mask&came != 0 && isDir && !unwatched(e.name) {
		l.enqueue(job{path: p, tell: tellAll}, true)
	}
}

// onTheWay takes in what happened to a tree or a directory on the way to some.
func (l *watchLoop) onTheWay(c *node, e event) {
	switch {
	case e.mask&went != 0:
		c.trees(func(n *node) {
			if n.present {
				l.report(n, n.root, domain.FileRemoved)
			}
		})
		l.forget(c)
		// Something may be there again since, and its watch is gone now.
		c.trees(func(n *node) { l.enqueue(job{path: n.root, tree: true, tell: tellAll}, true) })
	case e.mask&came != 0:
		c.trees(func(n *node) { l.enqueue(job{path: n.root, tree: true, tell: tellAll}, true) })
	case c.root != "":
		l.report(c, c.root, domain.FileChanged)
	}
}
