package usernet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// streamWire is QEMU's -netdev stream.
type streamWire struct {
	socket
	begun int // bytes of the front item that are gone already
}

func (w *streamWire) send(batch []txItem, wait bool) (int, error) {
	w.bufs = w.bufs[:0]
	skip := w.begun
	for _, it := range batch[:min(len(batch), batchMax)] {
		if len(w.bufs) > 0 && len(w.bufs) >= bufsMax/2 {
			break
		}
		w.add(it, skip)
		skip = 0
	}
	bufs := w.bufs[:min(len(w.bufs), bufsMax)]
	n, err := w.writev(bufs, wait)
	clear(w.bufs)
	if err != nil {
		w.begun = 0 // its item is dropped, and the next batch may come before the wire is gone
		return 0, err
	}
	n += w.begun
	gone := 0
	for _, it := range batch {
		size := it.length()
		if n < size {
			break
		}
		n -= size
		gone++
	}
	w.begun = n
	return gone, nil
}

// length is the item's size on the wire, bytes.
func (it txItem) length() int {
	if it.slab != nil {
		return len(it.slab.buf)
	}
	return it.pkt.Size()
}

// writev writes what the socket takes of bufs: 0 without wait when it is full.
func (s *socket) writev(bufs [][]byte, wait bool) (n int, err error) {
	rawErr := s.raw.Write(func(fd uintptr) bool {
		for {
			n, err = unix.Writev(int(fd), bufs)
			switch err {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				n, err = 0, nil
				return !wait
			}
			return true
		}
	})
	if rawErr != nil {
		return 0, rawErr
	}
	return n, err
}

func (w *streamWire) receive(r *receiver) error {
	// Large reads are what makes a stream faster than datagrams.
	buf := make([]byte, 4*maxFrame)
	have := 0
	for {
		n, err := w.conn.Read(buf[have:])
		have += n
		at := 0
		for have-at >= prefixLen {
			size := int(binary.BigEndian.Uint32(buf[at:]))
			if size > maxFrame {
				return fmt.Errorf("frame of %d bytes announced, framing lost: %w", size, domain.ErrCorrupt)
			}
			if have-at < prefixLen+size {
				break
			}
			r.frame(buf[at+prefixLen : at+prefixLen+size])
			at += prefixLen + size
		}
		r.flush()
		have = copy(buf, buf[at:have])
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), ended(err):
			return nil
		default:
			return err
		}
	}
}
