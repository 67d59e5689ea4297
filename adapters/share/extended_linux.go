package share

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// passedAttribute says whether the guest may use an extended attribute: those of
// users are data, all others mean something to the host.
func passedAttribute(name string) bool {
	return strings.HasPrefix(name, "user.") && name != OwnerAttribute && len(name) <= maxName && plainAttribute(name)
}

func plainAttribute(name string) bool { return !strings.ContainsRune(name, 0) }

// attributed finds a node that can have attributes.
func (f *passThrough) attributed(id uint64) (*node, unix.Errno) {
	if id == rootID {
		return nil, unix.EOPNOTSUPP
	}
	n, errno := f.tree.get(id)
	if errno == 0 && (!holdsOwner(n.kind) || f.plain(n.key.dev)) {
		errno = unix.EOPNOTSUPP
	}
	return n, errno
}

// GetXAttr implements fuse.RawFileSystem.
func (f *passThrough) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !passedAttribute(name) {
		if strings.HasPrefix(name, "user.") {
			return 0, fuse.ENOATTR
		}
		return 0, fuse.Status(unix.EOPNOTSUPP)
	}
	n, errno := f.attributed(in.NodeId)
	if errno != 0 {
		return 0, status(errno)
	}
	size, err := f.getAttribute(n, name, dest)
	return uint32(max(0, size)), status(err)
}

// ListXAttr implements fuse.RawFileSystem.
func (f *passThrough) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n, errno := f.attributed(in.NodeId)
	if errno == unix.EOPNOTSUPP {
		return 0, fuse.OK
	}
	if errno != 0 {
		return 0, status(errno)
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return 0, status(err)
	}
	defer f.tree.unpin(n)
	buf := make([]byte, 64<<10) // XATTR_LIST_MAX
	size, err := unix.Listxattr(procPath(fd), buf)
	if err != nil {
		return 0, status(err)
	}
	var names []byte
	for name := range strings.SplitSeq(string(buf[:size]), "\x00") {
		if passedAttribute(name) {
			names = append(append(names, name...), 0)
		}
	}
	switch {
	case len(dest) == 0:
	case len(names) > len(dest):
		return uint32(len(names)), fuse.ERANGE
	default:
		copy(dest, names)
	}
	return uint32(len(names)), fuse.OK
}

// SetXAttr implements fuse.RawFileSystem.
func (f *passThrough) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if int64(in.Size) > int64(len(data)) {
		return fuse.EINVAL
	}
	return f.changeAttribute(&in.InHeader, name, func(path string) error {
		return unix.Setxattr(path, name, data[:in.Size], int(in.Flags))
	})
}

// RemoveXAttr implements fuse.RawFileSystem.
func (f *passThrough) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.changeAttribute(in, name, func(path string) error { return unix.Removexattr(path, name) })
}

func (f *passThrough) changeAttribute(in *fuse.InHeader, name string, do func(path string) error) fuse.Status {
	n, errno := f.mayChange(in, in.NodeId)
	switch {
	case errno != 0:
		return status(errno)
	case name == OwnerAttribute:
		return fuse.EPERM
	case !passedAttribute(name) || !holdsOwner(n.kind) || f.plain(n.key.dev):
		return fuse.Status(unix.EOPNOTSUPP)
	}
	fd, err := f.tree.pin(n)
	if err != nil {
		return status(err)
	}
	defer f.tree.unpin(n)
	return status(do(procPath(fd)))
}
