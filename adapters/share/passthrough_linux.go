package share

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// passThrough answers the requests of one mount of the guest.
type passThrough struct {
	fuse.RawFileSystem // answers what is not implemented here with ENOSYS

	log      *slog.Logger
	cache    Cache
	hidden   hidden
	uid, gid uint32 // of this process
	began    time.Time

	shares       []*shared
	tree         *tree
	handles      *handles
	numbers      *numbers
	writes       *guestWrites
	noAttributes sync.Map // device numbers of file systems without attributes
	local        sync.Map // device number -> whether writesThrough
}

// directory is a share that is served, as found when the device was made.
type directory struct {
	fd       int // O_PATH, owned by the link
	readOnly bool
}

func newPassThrough(log *slog.Logger, cache Cache, hide hidden, fds budget, dirs []directory) (*passThrough, error) {
	f := &passThrough{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), log: log, cache: cache, hidden: hide,
		uid: uint32(unix.Geteuid()), gid: uint32(unix.Getegid()), began: time.Now(),
		tree: newTree(fds.files), handles: newHandles(fds.handles), numbers: &numbers{}, writes: newWrites(),
	}
	for i, d := range dirs {
		s := &shared{index: i, readOnly: d.readOnly}
		fd, err := unix.FcntlInt(uintptr(d.fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			f.close()
			return nil, err
		}
		var st unix.Statx_t
		if err := statAt(fd, "", &st); err != nil {
			_ = unix.Close(fd)
			f.close()
			return nil, err
		}
		f.tree.addRoot(s, keyOf(i, &st), fd)
		f.shares = append(f.shares, s)
	}
	return f, nil
}

// close closes every file. No request is under way or comes.
func (f *passThrough) close() {
	f.handles.close()
	f.tree.close()
}

// String implements fuse.RawFileSystem.
func (f *passThrough) String() string { return domain.ShareTag }

// status is the answer that an error of the host makes.
func status(err error) fuse.Status {
	var errno unix.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	return fuse.EIO
}

// touches says that a request only wants to wake watchers in the guest.
func touches(h *fuse.InHeader) bool { return h.Uid == domain.TouchUID }

// mayChange finds a node of a request that changes something.
func (f *passThrough) mayChange(h *fuse.InHeader, id uint64) (*node, unix.Errno) {
	if touches(h) || id == rootID {
		return nil, unix.EPERM
	}
	n, errno := f.tree.get(id)
	if errno != 0 {
		return nil, errno
	}
	if n.share.readOnly {
		return nil, unix.EROFS
	}
	return n, 0
}

// mayEnter is mayChange for an entry of a directory.
func (f *passThrough) mayEnter(h *fuse.InHeader, id uint64, name string) (*node, unix.Errno) {
	n, errno := f.mayChange(h, id)
	switch {
	case errno != 0:
		return nil, errno
	case !n.isDir():
		return nil, unix.ENOTDIR
	case len(name) > maxName:
		return nil, unix.ENAMETOOLONG
	case !plainName(name):
		return nil, unix.EINVAL
	}
	return n, 0
}
