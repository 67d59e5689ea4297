package share

import (
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// maxVectors is how many pieces one read or write may have (UIO_MAXIOV).
const maxVectors = 1024

// Read implements fuse.RawFileSystem.
func (f *passThrough) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	h := f.handles.get(in.Fh)
	if h == nil || !h.node.isRegular() {
		h.release()
		return nil, fuse.EBADF
	}
	if in.Offset > math.MaxInt64 {
		h.release()
		return nil, fuse.EINVAL
	}
	return &fileData{handle: h, offset: int64(in.Offset), size: int(in.Size)}, fuse.OK
}

// fileData is data of a file that is read into the guest's memory. It uses the
// handle until Done.
type fileData struct {
	handle *handle
	offset int64
	size   int
}

// Size implements fuse.ReadResult.
func (d *fileData) Size() int { return d.size }

// Done implements fuse.ReadResult.
func (d *fileData) Done() { d.handle.release() }

// Bytes implements fuse.ReadResult.
func (d *fileData) Bytes(buf []byte) ([]byte, fuse.Status) {
	n, st := d.Readv([][]byte{buf[:min(len(buf), d.size)]})
	return buf[:n], st
}

// Readv reads to the pieces of dst, up to the end of the file.
func (d *fileData) Readv(dst [][]byte) (int, fuse.Status) {
	total := 0
	for len(dst) > 0 {
		n, err := 0, error(nil)
		err = retry(func() error {
			n, err = unix.Preadv(d.handle.fd, dst[:min(len(dst), maxVectors)], d.offset+int64(total))
			return err
		})
		if err != nil {
			if total > 0 {
				return total, fuse.OK
			}
			return 0, status(err)
		}
		if n == 0 {
			break
		}
		total += n
		dst = after(dst, n)
	}
	return total, fuse.OK
}

// after is what pieces have behind their first n bytes; they are not changed.
func after(pieces [][]byte, n int) [][]byte {
	for i, p := range pieces {
		if n < len(p) {
			if n == 0 {
				return pieces[i:]
			}
			rest := append([][]byte{p[n:]}, pieces[i+1:]...)
			return rest
		}
		n -= len(p)
	}
	return nil
}

// Write implements fuse.RawFileSystem.
func (f *passThrough) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return f.Writev(cancel, in, [][]byte{data})
}

// Writev implements fuse.RawFileSystem.
func (f *passThrough) Writev(_ <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	h := f.handles.get(in.Fh)
	if h == nil || !h.node.isRegular() {
		h.release()
		return 0, fuse.EBADF
	}
	defer h.release()
	switch {
	case touches(&in.InHeader):
		return 0, fuse.EPERM
	case in.Offset > math.MaxInt64-math.MaxUint32:
		return 0, fuse.Status(unix.EFBIG)
	}
	if h.privileged.Load() || in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := f.unprivilege(h.fd); err != nil {
			return 0, status(err)
		}
		h.privileged.Store(false)
	}
	flags := 0
	if in.Flags&unix.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 {
		flags = unix.RWF_APPEND // pages of a mapping have their places
	}
	total := 0
	for left := limit(data, int(in.Size)); len(left) > 0; {
		n, err := 0, error(nil)
		err = retry(func() error {
			n, err = unix.Pwritev2(h.fd, left[:min(len(left), maxVectors)], int64(in.Offset)+int64(total), flags)
			return err
		})
		if err != nil && total == 0 {
			return 0, status(err)
		}
		if err != nil || n == 0 {
			break
		}
		total += n
		left = after(left, n)
	}
	return uint32(total), fuse.OK
}

// limit is the first n bytes of the pieces.
func limit(pieces [][]byte, n int) [][]byte {
	for i, p := range pieces {
		if n <= len(p) {
			return append(append([][]byte{}, pieces[:i]...), p[:n])
		}
		n -= len(p)
	}
	return pieces
}

// unprivilege takes the bits off a file that run it with its owner's rights, as the
// host's kernel does for writers without privileges only.
func (f *passThrough) unprivilege(fd int) error {
	var st unix.Statx_t
	if err := statAt(fd, "", &st); err != nil {
		return err
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) == 0 {
		return nil
	}
	return unix.Fchmod(fd, uint32(st.Mode)&0o1777)
}

// Lseek implements fuse.RawFileSystem, for data and holes.
func (f *passThrough) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil || !h.node.isRegular() {
		h.release()
		return fuse.EBADF
	}
	defer h.release()
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE || in.Offset > math.MaxInt64 {
		return fuse.EINVAL
	}
	at, err := unix.Seek(h.fd, int64(in.Offset), int(in.Whence))
	if err != nil {
		return status(err)
	}
	out.Offset = uint64(at)
	return fuse.OK
}

// Fallocate implements fuse.RawFileSystem.
func (f *passThrough) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil || !h.node.isRegular() {
		h.release()
		return fuse.EBADF
	}
	defer h.release()
	switch {
	case touches(&in.InHeader):
		return fuse.EPERM
	case in.Offset > math.MaxInt64 || in.Length > math.MaxInt64:
		return fuse.EINVAL
	}
	return status(retry(func() error {
		return unix.Fallocate(h.fd, in.Mode, int64(in.Offset), int64(in.Length))
	}))
}

// CopyFileRange implements fuse.RawFileSystem.
func (f *passThrough) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := f.handles.get(in.FhIn), f.handles.get(in.FhOut)
	defer from.release()
	defer to.release()
	switch {
	case from == nil || to == nil || !from.node.isRegular() || !to.node.isRegular():
		return 0, fuse.EBADF
	case touches(&in.InHeader):
		return 0, fuse.EPERM
	case in.OffIn > math.MaxInt64 || in.OffOut > math.MaxInt64:
		return 0, fuse.EINVAL
	}
	if to.privileged.Swap(false) {
		if err := f.unprivilege(to.fd); err != nil {
			return 0, status(err)
		}
	}
	// The answer has 32 bits; a part is an answer, and leaves others their turn.
	const most = 1 << 30
	offIn, offOut := int64(in.OffIn), int64(in.OffOut)
	n, err := 0, error(nil)
	err = retry(func() error {
		n, err = unix.CopyFileRange(from.fd, &offIn, to.fd, &offOut, int(min(in.Len, most)), 0)
		return err
	})
	return uint32(max(0, n)), status(err)
}
