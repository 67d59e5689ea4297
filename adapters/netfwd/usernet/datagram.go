package usernet

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// datagramWire is one frame per message on a connected pair of datagram
// sockets. macOS has no call that moves several, so it is one call per frame
// in either direction everywhere.
type datagramWire struct {
	socket
	begun int // frames of the slab at the front that are gone already
}

func (w *datagramWire) send(batch []txItem, wait bool) (int, error) {
	gone := 0
	for _, it := range batch[:min(len(batch), batchMax)] {
		done, err := w.sendItem(it, wait && gone == 0)
		if err != nil {
			return gone, err
		}
		if !done {
			break
		}
		gone++
	}
	return gone, nil
}

// sendItem sends one packet or the frames of one slab; false when the socket
// is full.
func (w *datagramWire) sendItem(it txItem, wait bool) (bool, error) {
	if it.slab == nil {
		w.bufs = w.bufs[:0]
		w.add(it, 0)
		ok, err := w.message(w.bufs, wait)
		clear(w.bufs)
		return ok, err
	}
	for w.begun < len(it.slab.ends) {
		start := 0
		if w.begun > 0 {
			start = it.slab.ends[w.begun-1]
		}
		frame := it.slab.buf[start:it.slab.ends[w.begun]]
		ok, err := w.message([][]byte{frame}, wait)
		if err != nil {
			w.begun = 0 // the slab is dropped
		}
		if err != nil || !ok {
			return false, err
		}
		w.begun++
	}
	w.begun = 0
	return true, nil
}

// message sends one frame; false without wait when the socket is full.
func (w *datagramWire) message(bufs [][]byte, wait bool) (bool, error) {
	for {
		n, err := w.writev(bufs, wait)
		switch {
		case err == nil:
			return n > 0, nil
		case !errors.Is(err, unix.ENOBUFS):
			return false, err
		case !wait:
			return false, nil
		}
		// macOS says so of a full peer, and calls the socket writable all the
		// same: without the pause this would be a busy loop.
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing tells when it empties
	}
}

// datagramBatch is how many frames are read before the stack is told to go on
// with them.
const datagramBatch = 16

func (w *datagramWire) receive(r *receiver) error {
	buf := make([]byte, maxFrame) // a longer message is cut, and still too long for frame
	for {
		var err error
		rawErr := w.raw.Read(func(fd uintptr) bool {
			for got := 0; got < datagramBatch; {
				n, e := unix.Read(int(fd), buf)
				switch e {
				case nil:
					got++
					r.frame(buf[:n])
				case unix.EINTR:
				case unix.EAGAIN:
					return got > 0
				default:
					err = e
					return true
				}
			}
			return true
		})
		r.flush()
		if rawErr != nil {
			err = rawErr
		}
		if err != nil {
			if ended(err) {
				return nil
			}
			return err
		}
	}
}
