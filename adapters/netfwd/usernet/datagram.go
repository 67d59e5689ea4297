package usernet

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// datagramWire is one frame per message on a connected pair of datagram
// sockets. macOS has no call that moves several, so it is one call per frame
// in either direction everywhere.
type datagramWire struct {
	conn  *net.UnixConn
	raw   syscall.RawConn
	bufs  [][]byte
	begun int // frames of the slab at the front that are gone already
}

func newDatagramWire(conn *net.UnixConn, buffer int) (*datagramWire, error) {
	_ = conn.SetWriteBuffer(buffer) // a smaller buffer is slower, not wrong
	_ = conn.SetReadBuffer(buffer)
	raw, err := conn.SyscallConn()
	return &datagramWire{conn: conn, raw: raw}, err
}

func (w *datagramWire) close() { w.conn.Close() }

// offloads implements wire: a frame is all there is.
func (w *datagramWire) offloads() offloads { return offloads{} }

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
		w.bufs = it.slices(w.bufs[:0])
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

// writev writes one message of bufs: 0 without wait when the socket is full.
func (w *datagramWire) writev(bufs [][]byte, wait bool) (n int, err error) {
	rawErr := w.raw.Write(func(fd uintptr) bool {
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
