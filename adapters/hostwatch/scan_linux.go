package hostwatch

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// telling is what is told of what a directory already holds.
type telling uint8

const (
	quietly   telling = iota
	tellNewer         // what changed since a time
	tellAll           // everything
)

// job is a directory to watch and list.
type job struct {
	path  string
	tree  bool // watch the way to it first; it may be a file or missing
	tell  telling
	since time.Time
}

// jobs are to be done in their order, those of new directories first.
type jobs struct {
	fresh, rest []job
}

func (j *jobs) len() int { return len(j.fresh) + len(j.rest) }

func (j *jobs) add(one job, fresh bool) {
	if fresh {
		j.fresh = append(j.fresh, one)
	} else {
		j.rest = append(j.rest, one)
	}
}

func (j *jobs) next() (one job, fresh, ok bool) {
	q := &j.rest
	if fresh = len(j.fresh) > 0; fresh {
		q = &j.fresh
	}
	if len(*q) == 0 {
		return job{}, false, false
	}
	one = (*q)[0]
	(*q)[0] = job{}
	if *q = (*q)[1:]; len(*q) == 0 {
		*q = nil
	}
	return one, fresh, true
}

// unwatched says whether the contents of a directory below a tree are left out.
func unwatched(name string) bool { return name == ".git" || name == "node_modules" }

// enqueue adds a job. More than there can be watches are not kept.
func (l *watchLoop) enqueue(j job, fresh bool) {
	if l.jobs.len() >= max(l.options.Limit, domain.MaxWatchTrees) {
		l.miss(l.root, j.path, errors.New("too many directories wait to be watched"))
		return
	}
	l.jobs.add(j, fresh)
}

// step does one job, if there is one.
func (l *watchLoop) step() {
	j, fresh, ok := l.jobs.next()
	if !ok {
		return
	}
	n := l.root.at(j.path)
	defer n.leave()
	if n.tree() == nil || l.hidden(j.path) { // not any more, or not at all
		return
	}
	if j.tree && n.root != "" && !l.reach(n, j) {
		return
	}
	l.scan(n, j, fresh)
}

// reach watches the directories on the way to a tree and says whether the tree
// is a directory. Each one is watched before it is looked into, so that nothing
// comes into being unseen.
func (l *watchLoop) reach(n *node, j job) bool {
	var way []*node
	for a := n.parent; a != nil; a = a.parent {
		way = append(way, a)
	}
	for _, a := range slices.Backward(way) {
		if err := l.watch(a, a.path(), maskNames, true); missing(err) {
			n.present = false
			return false
		}
	}
	info, err := os.Stat(n.root)
	was := n.present
	n.present = err == nil
	if err != nil {
		return false
	}
	if !info.IsDir() && n.parent != nil {
		// Whoever replaces a file by another one changes its directory.
		if err := l.watch(n.parent, n.parent.path(), maskContent, true); err != nil {
			l.options.Log.Debug("a file is not watched", "path", n.root, "error", err)
		}
	}
	if j.tell == tellAll || j.tell == tellNewer && newer(info, j.since) {
		e := domain.FileChanged
		if !was && !info.IsDir() {
			e = domain.FileCreated
		}
		l.report(n, n.root, e)
	}
	return info.IsDir()
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// scan watches and then lists one directory of a tree. What cannot be read is
// left out, as it is for the user's own programs.
func (l *watchLoop) scan(n *node, j job, fresh bool) {
	tree := n.tree()
	if err := l.watch(n, j.path, maskContent, n.root != ""); err != nil {
		l.options.Log.Debug("a directory is not watched", "path", j.path, "error", err)
		return
	}
	flags := syscall.O_DIRECTORY
	if n.root == "" {
		flags |= syscall.O_NOFOLLOW
	}
	dir, err := os.OpenFile(j.path, os.O_RDONLY|flags, 0)
	if err != nil {
		l.options.Log.Debug("a directory is not listed", "path", j.path, "error", err)
		return
	}
	defer dir.Close()
	there := map[string]bool{} // the directories
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			if e.IsDir() {
				there[e.Name()] = true
			}
			l.found(tree, n, e, job{path: path.Join(j.path, e.Name()), tell: j.tell, since: j.since}, fresh)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.options.Log.Debug("a directory is not listed to its end", "path", j.path, "error", err)
			return
		}
	}
	if j.tell != tellNewer {
		return // what goes is told
	}
	for name, c := range n.children {
		if !there[name] {
			l.report(tree, path.Join(j.path, name), domain.FileRemoved)
			l.forget(c)
			c.leave()
		}
	}
}

// found takes in an entry of a directory.
func (l *watchLoop) found(tree, dir *node, e fs.DirEntry, j job, fresh bool) {
	if slices.Contains(l.options.Hidden, j.path) {
		return
	}
	switch {
	case j.tell == tellAll && e.IsDir():
		l.report(tree, j.path, domain.FileChanged)
	case j.tell == tellAll:
		l.report(tree, j.path, domain.FileCreated)
	case j.tell == tellNewer:
		if info, err := e.Info(); err == nil && newer(info, j.since) {
			l.report(tree, j.path, domain.FileChanged)
			if c := dir.children[e.Name()]; c == nil || c.wd == 0 {
				j.tell = tellAll // it may have been moved there, with all that it holds
			}
		}
	}
	l.relieve()
	if e.IsDir() && !unwatched(e.Name()) {
		l.enqueue(j, fresh)
	}
}

// hidden says whether a path is in a directory that guests do not see.
func (l *watchLoop) hidden(p string) bool {
	return slices.ContainsFunc(l.options.Hidden, func(h string) bool { return domain.Within(p, h) })
}

// newer says whether a file, or what is in a directory, changed after a time.
// The time of its last change of status cannot be set back.
func newer(info fs.FileInfo, since time.Time) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return !ok || !time.Unix(s.Ctim.Unix()).Before(since)
}
