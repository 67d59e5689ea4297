package share

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// entry is one of a directory.
type entry struct {
	name string
	ino  uint64
	kind uint32
	next uint64 // the offset behind it
	size int    // in the buffer
}

// listing reads a directory from any offset that the host gave for it. The zero
// value is at the start.
type listing struct {
	at   uint64 // offset of the next entry
	buf  []byte // entries as getdents64 gives them
	rest []byte // of buf, not taken yet
	lost bool   // the descriptor is not where the next entry is
}

// listingSize is how much is read at a time: some 800 entries.
const listingSize = 32 << 10

// maxLists is how many directories that are listed in part keep what was read: the
// guest has as many open as it likes, and this is memory of the host.
const maxLists = 256

// lists has the buffers of the directories that are listed.
type lists struct {
	kept atomic.Int64
	pool sync.Pool
}

// begin gives the handle's listing a buffer. Called with mu of h, as end is.
func (s *lists) begin(h *handle) {
	if h.listing.buf != nil {
		return
	}
	if b, ok := s.pool.Get().(*[listingSize]byte); ok {
		h.listing.buf = b[:]
	} else {
		h.listing.buf = make([]byte, listingSize)
	}
}

// end takes the buffer back, unless there is something left in it and room for it.
func (s *lists) end(h *handle) {
	l := &h.listing
	if len(l.rest) > 0 && !h.keeps {
		if h.keeps = s.kept.Add(1) <= maxLists; !h.keeps {
			s.kept.Add(-1)
		}
	}
	if len(l.rest) > 0 && h.keeps {
		return
	}
	if h.keeps {
		h.keeps = false
		s.kept.Add(-1)
	}
	l.lost = l.lost || len(l.rest) > 0
	s.pool.Put((*[listingSize]byte)(l.buf))
	l.buf, l.rest = nil, nil
}

// seek goes on at an offset. Entries that come and go between two calls are the
// host's file system's to deal with.
func (l *listing) seek(fd int, offset uint64) error {
	if offset > math.MaxInt64 {
		return unix.EINVAL
	}
	if offset == l.at && offset != 0 && !l.lost {
		return nil
	}
	if _, err := unix.Seek(fd, int64(offset), unix.SEEK_SET); err != nil {
		return err
	}
	l.at, l.rest, l.lost = offset, nil, false
	return nil
}

// peek returns the next entry, nil at the end. It needs a buffer.
func (l *listing) peek(fd int) (*entry, error) {
	if len(l.rest) == 0 {
		n, err := 0, error(nil)
		err = retry(func() error {
			n, err = unix.Getdents(fd, l.buf)
			return err
		})
		if err != nil || n == 0 {
			return nil, err
		}
		l.rest = l.buf[:n]
	}
	return parseEntry(l.rest)
}

// take goes on behind an entry that peek returned.
func (l *listing) take(e *entry) { l.rest, l.at = l.rest[e.size:], e.next }

var errListing = errors.New("malformed directory entry")

// parseEntry reads a struct linux_dirent64 (getdents64(2)).
func parseEntry(b []byte) (*entry, error) {
	const head = 19 // inode, offset, length, type
	if len(b) < head {
		return nil, errListing
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < head || size > len(b) {
		return nil, errListing
	}
	name, _, _ := bytes.Cut(b[head:size], []byte{0})
	return &entry{
		name: string(name),
		ino:  binary.NativeEndian.Uint64(b),
		next: binary.NativeEndian.Uint64(b[8:]),
		kind: uint32(b[18]) << 12,
		size: size,
	}, nil
}
