package share

import (
	"slices"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// passedFlags are the guest's flags of open that the host gets. Appending is said
// with each write, because the guest can change its mind; direct I/O ends at the
// host's page cache, where the alignment of the guest's memory does not matter.
const passedFlags = unix.O_ACCMODE | unix.O_TRUNC | unix.O_SYNC | unix.O_DSYNC

// ownFlags go with every open: whatever a name has become, nothing waits for it.
const ownFlags = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

// contentNote says how the file's content was when the guest last opened it.
type contentNote struct {
	known            bool
	size             uint64
	modified, change unix.StatxTimestamp
}

// settled is how old a change must be for the times of a file to tell it from the
// next one: they move in ticks of the host's clock, a few milliseconds long.
const settled = 200 * time.Millisecond

func writes(flags uint32) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}

// Open implements fuse.RawFileSystem.
func (f *passThrough) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, errno := f.tree.get(in.NodeId)
	if errno == 0 && writes(in.Flags) {
		n, errno = f.mayChange(&in.InHeader, in.NodeId)
	}
	if errno != 0 {
		return status(errno)
	}
	fd, err := f.openNode(n, in.Flags&passedFlags)
	if err != nil {
		return status(err)
	}
	return status(f.opened(n, fd, in.Flags, out))
}

// openNode opens a regular file.
func (f *passThrough) openNode(n *node, flags uint32) (int, error) {
	if !n.isRegular() {
		return -1, unix.EACCES
	}
	path, err := f.tree.pin(n)
	if err != nil {
		return -1, err
	}
	defer f.tree.unpin(n)
	return f.reopen(path, int(flags))
}

// reopen opens what an O_PATH descriptor is open on.
func (f *passThrough) reopen(path, flags int) (fd int, err error) {
	for again := true; ; again = false {
		err = retry(func() error {
			fd, err = unix.Open(procPath(path), flags|ownFlags, 0)
			return err
		})
		if err != unix.EMFILE && err != unix.ENFILE || !again || !f.tree.makeRoom() { //nolint:errorlint // of a system call
			return fd, err
		}
	}
}

// opened gives the guest a handle of a regular file.
func (f *passThrough) opened(n *node, fd int, flags uint32, out *fuse.OpenOut) error {
	id, h, err := f.handles.add(n, fd)
	if err != nil {
		return err
	}
	out.Fh = id
	if flags&unix.O_ACCMODE == unix.O_RDONLY || f.writesThrough(fd, n.key.dev) {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		f.handles.drop(id)
		return err
	}
	h.privileged.Store(st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0)
	if f.cache.KeepData && n.sameContent(&st, time.Now()) {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	return nil
}

// sameContent says whether the content is for certain what it was at the last call.
func (n *node) sameContent(st *unix.Statx_t, now time.Time) bool {
	note := contentNote{known: true, size: st.Size, modified: st.Mtime, change: st.Ctime}
	n.mu.Lock()
	defer n.mu.Unlock()
	same := n.content == note
	if now.Sub(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))) < settled {
		note = contentNote{}
	}
	n.content = note
	return same
}

// writesThrough says that the host's file system has told of errors when a write
// returns. The guest need not ask again at each close then. (What it wrote through a
// mapping it sends when that goes.)
func (f *passThrough) writesThrough(fd int, dev uint64) bool {
	if known, ok := f.local.Load(dev); ok {
		return known.(bool)
	}
	var st unix.Statfs_t
	local := retry(func() error { return unix.Fstatfs(fd, &st) }) == nil && slices.Contains([]int64{
		unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC,
	}, st.Type)
	f.local.Store(dev, local)
	return local
}

// Flush implements fuse.RawFileSystem: some file systems, such as NFS, tell of
// errors when a descriptor is closed.
func (f *passThrough) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	defer h.release()
	fd, err := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fuse.OK // there is no descriptor to ask with
	}
	return status(unix.Close(fd))
}

// Release implements fuse.RawFileSystem.
func (f *passThrough) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { f.handles.drop(in.Fh) }

// Fsync implements fuse.RawFileSystem.
func (f *passThrough) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	defer h.release()
	const dataOnly = 1 // FUSE_FSYNC_FDATASYNC
	if in.FsyncFlags&dataOnly != 0 {
		return status(retry(func() error { return unix.Fdatasync(h.fd) }))
	}
	return status(retry(func() error { return unix.Fsync(h.fd) }))
}

// FsyncDir implements fuse.RawFileSystem.
func (f *passThrough) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if in.NodeId == rootID {
		return fuse.OK
	}
	return f.Fsync(cancel, in)
}
