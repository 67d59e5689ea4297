package domain

import (
	"path"
	"slices"
)

// FileEvent is what happened to a path.
type FileEvent uint8

// File events.
const (
	// FileChanged is another content, or something that was moved to the path,
	// where something else may have been.
	FileChanged FileEvent = iota
	// FileCreated is a file where nothing was. A directory is FileChanged: when it
	// goes, all that was said of what lies in it is taken back.
	FileCreated
	// FileRemoved is a path that was deleted or moved away.
	FileRemoved
)

// MaxPathChanges bounds the changes that are told at once.
const MaxPathChanges = 4096

// PathChanges collects what happens to files until it is told. The zero value
// is empty. It is not safe for concurrent use.
//
// Invariant: it never holds more than MaxPathChanges paths. With more, the
// directories stand for the files in them, and if these are too many, the trees.
type PathChanges struct {
	paths map[string]pathState
}

type pathState struct {
	tree    string
	removed bool
	fresh   bool // nobody was told that it exists
	whole   bool // a directory that stands for everything in it
}

// Add takes in an event of a path in a tree; both are absolute and clean.
func (c *PathChanges) Add(tree, p string, e FileEvent) {
	if c.paths == nil {
		c.paths = map[string]pathState{}
	}
	old, known := c.paths[p]
	switch {
	case old.whole && e != FileRemoved:
		return
	case e == FileRemoved && old.fresh:
		delete(c.paths, p) // the temporary file of somebody who writes and renames
		return
	case known:
		c.paths[p] = pathState{tree: tree, removed: e == FileRemoved, fresh: old.fresh}
		return
	case p != tree && c.paths[path.Dir(p)].whole:
		return
	}
	if len(c.paths) >= MaxPathChanges {
		c.fold()
		c.Add(tree, p, e)
		return
	}
	c.paths[p] = pathState{tree: tree, removed: e == FileRemoved, fresh: e == FileCreated}
}

// fold makes at least half of the room free.
func (c *PathChanges) fold() {
	folded := map[string]pathState{}
	for p, s := range c.paths {
		if p != s.tree && !s.whole {
			p = path.Dir(p)
		}
		folded[p] = pathState{tree: s.tree, whole: true}
	}
	if len(folded) > MaxPathChanges/2 {
		trees := map[string]pathState{}
		for _, s := range c.paths {
			trees[s.tree] = pathState{tree: s.tree, whole: true}
		}
		folded = trees
	}
	if len(folded) > MaxPathChanges/2 { // of more trees than anybody watches
		clear(folded)
	}
	c.paths = folded
}

// Len is the number of paths.
func (c *PathChanges) Len() int { return len(c.paths) }

// Full says that the next path may cost the names of others.
func (c *PathChanges) Full() bool { return len(c.paths) >= MaxPathChanges }

// Take returns the changes and forgets them. What was removed comes first, what
// lay in a directory before the directory; of the rest a directory comes before
// what lies in it. What lies in a directory that was removed is not said to exist.
func (c *PathChanges) Take() []PathChange {
	gone := map[string]bool{}
	for p, s := range c.paths {
		if s.removed {
			gone[p] = true
		}
	}
	var removed, changed []string
	for p, s := range c.paths {
		switch {
		case s.removed:
			removed = append(removed, p)
		case !within(gone, p):
			changed = append(changed, p)
		}
	}
	c.paths = nil
	slices.Sort(removed)
	slices.Reverse(removed)
	slices.Sort(changed)
	out := make([]PathChange, 0, len(removed)+len(changed))
	for _, p := range removed {
		out = append(out, PathChange{Path: p, Removed: true})
	}
	for _, p := range changed {
		out = append(out, PathChange{Path: p})
	}
	return out
}
