package hostwatch

import (
	"path"
	"strings"
)

// node is a directory that is watched or to be watched, or a tree.
type node struct {
	name     string
	parent   *node // nil for "/"
	children map[string]*node
	wd       int32  // 0 while it is not watched
	root     string // the path of a tree, empty for other nodes
	roots    int    // trees at and below the node
	present  bool   // a tree that was found
}

func (n *node) path() string {
	switch {
	case n.root != "":
		return n.root
	case n.parent == nil:
		return "/"
	}
	return path.Join(n.parent.path(), n.name)
}

// tree is the tree that the node is in, or nil.
func (n *node) tree() *node {
	for n != nil && n.root == "" {
		n = n.parent
	}
	return n
}

// trees calls f with the trees at and below the node.
func (n *node) trees(f func(*node)) {
	if n.root != "" {
		f(n)
	}
	for _, c := range n.children {
		if c.roots > 0 {
			c.trees(f)
		}
	}
}

// child returns the child with a name and makes it if need be.
func (n *node) child(name string) *node {
	c := n.children[name]
	if c == nil {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		c = &node{name: name, parent: n}
		n.children[name] = c
	}
	return c
}

// at returns the node of an absolute path below n, which is "/", and makes it
// if need be.
func (n *node) at(p string) *node {
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if name != "" {
			n = n.child(name)
		}
	}
	return n
}

// count adds d to the trees of the node and of those above.
func (n *node) count(d int) {
	for ; n != nil; n = n.parent {
		n.roots += d
	}
}

// leave takes the node out of its parent when nothing needs it, and then the
// parents that nothing needs.
func (n *node) leave() {
	for n.parent != nil && n.roots == 0 && n.wd == 0 && len(n.children) == 0 {
		if n.parent.children[n.name] == n {
			delete(n.parent.children, n.name)
		}
		n = n.parent
	}
}
