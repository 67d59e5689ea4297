//go:build linux

package listeners

import (
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// owners says whose cgroups are which.
type owners struct {
	root       string // where the cgroup file system is mounted
	containers []string
	known      map[uint64]string // container by cgroup; "" for those of nobody
}

// newOwners knows the cgroups of containers below root.
func newOwners(root string, containers []string) *owners {
	o := &owners{root: root, containers: containers, known: map[uint64]string{}}
	o.look()
	return o
}

// settle makes sure that the cgroups of all sockets are known: one that is not
// may be new, below a container's. The kernel never gives an id twice.
func (o *owners) settle(sockets []socket) {
	unknown := func(s socket) bool { _, ok := o.known[s.cgroup]; return !ok }
	if !slices.ContainsFunc(sockets, unknown) {
		return
	}
	o.look()
	for _, s := range sockets {
		if unknown(s) {
			o.known[s.cgroup] = ""
		}
	}
}

// look finds the containers' cgroups, wherever they were asked to be made, and
// all that are below them. What it cannot read is gone.
func (o *owners) look() {
	_ = filepath.WalkDir(o.root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir
		case !e.IsDir():
			return nil
		case slices.Contains(o.containers, e.Name()):
			o.enter(path, e.Name())
			return fs.SkipDir
		case isContainer(e.Name()):
			return fs.SkipDir // somebody else's: there are many
		}
		return nil
	})
}

func (o *owners) enter(top, container string) {
	_ = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return fs.SkipDir
		}
		var st unix.Stat_t
		// On a 64-bit machine the inode of a cgroup's folder is its id.
		if e.IsDir() && unix.Lstat(path, &st) == nil {
			o.known[st.Ino] = container
		}
		return nil
	})
}

// isContainer says whether a cgroup has the name of a container: 64 hexadecimal
// digits.
func isContainer(name string) bool {
	return len(name) == 64 && !slices.ContainsFunc([]byte(name), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'f')
	})
}

// cgroupRoot is where the guest has its cgroups.
const cgroupRoot = "/sys/fs/cgroup"
