// Package hostwatch follows changes below directories of the host for
// port.TreeWatcher: on Linux with inotify(7), elsewhere not at all.
//
// Every directory of a tree is watched, the shallow ones first, and so is every
// directory on the way to a tree, for the tree's own coming and going. A new
// directory is watched before it is listed, so whatever is put into it is seen
// either way. Symbolic links in trees are not followed.
//
// The contents of directories named .git and node_modules are not watched: they
// are large, and nobody reloads because of them.
package hostwatch
