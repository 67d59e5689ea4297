package domain

import (
	"cmp"
	"path"
	"slices"
)

// MaxWatchTrees bounds the trees of the host that are watched for one guest.
const MaxWatchTrees = 1024

// WatchTrees returns what has to be watched on the host so that no change below
// the bind sources of containers is missed: the sources that lie in shares,
// without those that lie in others, in the order of their paths. What is no
// clean absolute path is left out, and so is what is beyond MaxWatchTrees, the
// longest paths first.
func WatchTrees(binds []string, shares []Share) []string {
	inside := make([]string, 0, len(binds))
	for _, b := range binds {
		if _, ok := shareOf(shares, b); ok && path.IsAbs(b) && path.Clean(b) == b {
			inside = append(inside, b)
		}
	}
	// A directory is shorter than what lies in it.
	slices.SortFunc(inside, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	kept := map[string]bool{}
	var trees []string
	for _, b := range inside {
		if len(trees) < MaxWatchTrees && !within(kept, b) {
			kept[b] = true
			trees = append(trees, b)
		}
	}
	slices.Sort(trees)
	return trees
}

// within says whether an absolute path is one of the trees or lies in one.
func within(trees map[string]bool, p string) bool {
	for ; !trees[p]; p = path.Dir(p) {
		if p == "/" {
			return false
		}
	}
	return true
}
