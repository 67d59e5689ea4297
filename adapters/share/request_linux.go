package share

import (
	"encoding/binary"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
)

// Operations of the FUSE protocol (linux/fuse.h) that matter before they get to
// the library.
const (
	opForget      = 2
	opWrite       = 16
	opInit        = 26
	opDestroy     = 38
	opBatchForget = 42
	opSyncFS      = 50
)

const (
	// headerLen is struct fuse_in_header, replyLen struct fuse_out_header.
	headerLen = 40
	replyLen  = 16
	// writeLen is the header of a WRITE with struct fuse_write_in.
	writeLen = headerLen + 40
	// maxRequest bounds any other request. The longest is an extended attribute of
	// 64 KiB with its name.
	maxRequest = 68 << 10
	// maxReply bounds an answer, for which the library may take as much memory as the
	// guest has room: and that can be the same page many times over.
	maxReply = maxTransfer + 4096
)

// shortest says how long a request is at least, with the struct that belongs to its
// operation. What is not here is not carried out.
func shortest(opcode uint32) (length uintptr, known bool) {
	switch opcode {
	case 1, 5, 6, 10, 11, 17, 24, opDestroy, opSyncFS:
		// LOOKUP, READLINK, SYMLINK, UNLINK, RMDIR, STATFS, REMOVEXATTR
		return headerLen, true
	case 12, 21, opBatchForget: // RENAME, SETXATTR in its short form
		return headerLen + 8, true
	case opForget:
		return unsafe.Sizeof(fuse.ForgetIn{}), true
	case 3: // GETATTR
		return unsafe.Sizeof(fuse.GetAttrIn{}), true
	case 4: // SETATTR
		return unsafe.Sizeof(fuse.SetAttrIn{}), true
	case 8: // MKNOD
		return unsafe.Sizeof(fuse.MknodIn{}), true
	case 9: // MKDIR
		return unsafe.Sizeof(fuse.MkdirIn{}), true
	case 13: // LINK
		return unsafe.Sizeof(fuse.LinkIn{}), true
	case 14, 27: // OPEN, OPENDIR
		return unsafe.Sizeof(fuse.OpenIn{}), true
	case 15, 28, 44: // READ, READDIR, READDIRPLUS
		return unsafe.Sizeof(fuse.ReadIn{}), true
	case opWrite:
		return writeLen, true
	case 18, 29: // RELEASE, RELEASEDIR
		return unsafe.Sizeof(fuse.ReleaseIn{}), true
	case 20, 30: // FSYNC, FSYNCDIR
		return unsafe.Sizeof(fuse.FsyncIn{}), true
	case 22, 23: // GETXATTR, LISTXATTR
		return unsafe.Sizeof(fuse.GetXAttrIn{}), true
	case 25: // FLUSH
		return unsafe.Sizeof(fuse.FlushIn{}), true
	case opInit:
		return headerLen + 16, true
	case 34: // ACCESS
		return unsafe.Sizeof(fuse.AccessIn{}), true
	case 35, 51: // CREATE, TMPFILE
		return unsafe.Sizeof(fuse.CreateIn{}), true
	case 43: // FALLOCATE
		return unsafe.Sizeof(fuse.FallocateIn{}), true
	case 45: // RENAME2
		return unsafe.Sizeof(fuse.RenameIn{}), true
	case 46: // LSEEK
		return unsafe.Sizeof(fuse.LseekIn{}), true
	case 47: // COPY_FILE_RANGE
		return unsafe.Sizeof(fuse.CopyFileRangeIn{}), true
	}
	return 0, false
}

// header is the part of a request's header that is used here.
type header struct {
	length uint32
	opcode uint32
	unique uint64
	uid    uint32
}

// answerless says that the guest waits for no answer.
func (h header) answerless() bool { return h.opcode == opForget || h.opcode == opBatchForget }

func parseHeader(b []byte) header {
	le := binary.NativeEndian
	return header{length: le.Uint32(b), opcode: le.Uint32(b[4:]), unique: le.Uint64(b[8:]), uid: le.Uint32(b[24:])}
}

// split takes a chain apart into what the guest asks, which comes first, and where
// the answer goes, as far as an answer can be long.
func split(segments []vhostuser.Segment) (in, out [][]byte, ok bool) {
	for _, s := range segments {
		switch {
		case s.Writable:
			out = append(out, s.Mem)
		case out != nil:
			return nil, nil, false
		default:
			in = append(in, s.Mem)
		}
	}
	return in, limit(out, maxReply), true
}

// own copies a request from the guest's memory, which the guest may change while it
// is read, all but the data of a WRITE.
func own(in [][]byte) (header, [][]byte, bool) {
	total := 0
	for _, b := range in {
		total += len(b)
	}
	if total < headerLen || total > maxTransfer+writeLen {
		return header{}, nil, false
	}
	head := make([]byte, min(total, maxRequest))
	n := 0
	for _, b := range in {
		if n += copy(head[n:], b); n >= writeLen {
			break // enough for a WRITE
		}
	}
	h := parseHeader(head)
	switch {
	case int(h.length) != total:
		return header{}, nil, false
	case h.opcode == opWrite && total >= writeLen:
		return h, append([][]byte{head[:writeLen:writeLen]}, skip(in, writeLen)...), true
	case total > maxRequest:
		return header{}, nil, false
	}
	// The rest, behind what was copied: nothing is read twice.
	for _, b := range skip(in, n) {
		n += copy(head[n:], b)
	}
	return h, [][]byte{head}, true
}

// skip is what pieces have behind their first n bytes.
func skip(pieces [][]byte, n int) [][]byte { return after(pieces, n) }

// reply writes an answer without data.
func reply(out [][]byte, unique uint64, errno unix.Errno) int {
	var b [replyLen]byte
	le := binary.NativeEndian
	le.PutUint32(b[0:], replyLen)
	le.PutUint32(b[4:], uint32(-int32(errno)))
	le.PutUint64(b[8:], unique)
	n := 0
	for _, o := range out {
		n += copy(o, b[n:])
	}
	return n
}
