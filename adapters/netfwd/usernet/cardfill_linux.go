package usernet

import (
	"errors"
	"net"

	"arcbox/adapters/internal/vhostuser"
)

// maxMerged bounds the buffers of one frame. Drivers offer at least 1.5 KiB each.
const maxMerged = 1024

var errReceiveBuffer = errors.New("a receive buffer that cannot be written")

// filler is what one frame to the guest takes; it is kept for its memory.
type filler struct {
	chains []chain
	segs   []vhostuser.Segment
	bufs   [][]byte
	put    bool // something, since the last signal
}

// chain is a receive buffer of the guest.
type chain struct {
	head uint16
	segs int // how many
}

// buffersOffered runs when the driver has offered receive buffers.
func (w *card) buffersOffered() {
	w.rx.Lock()
	if w.rx.Live() {
		w.rx.RefuseKick()
	}
	w.rx.Unlock()
	w.poke()
}

// send implements wire.
func (w *card) send(batch []txItem, wait bool) (int, error) {
	for {
		gone, err := w.sendSome(batch)
		if gone > 0 || err != nil || !wait {
			return gone, err
		}
		select {
		case <-w.room:
		case <-w.end:
			return 0, net.ErrClosed
		}
	}
}

// sendSome sends what the guest has buffers for, with one signal for all of it.
func (w *card) sendSome(batch []txItem) (gone int, err error) {
	signal := false
	w.rx.Lock()
	done := w.rx.Live()
	for done && err == nil && gone < min(len(batch), batchMax) {
		if done, err = w.sendItem(batch[gone]); done {
			gone++
		}
	}
	if w.fill.put && w.rx.Bound() {
		w.rx.Flush()
		signal = w.rx.WantsSignal()
	}
	w.fill.put = false
	w.rx.Unlock()
	if signal {
		w.rx.Notify()
	}
	if err != nil {
		w.begun = 0
		w.broken(err)
	}
	return gone, err
}

// sendItem sends one packet or the frames of one slab; false when the buffers
// run out.
func (w *card) sendItem(it txItem) (bool, error) {
	if it.slab == nil {
		w.fill.bufs = it.slices(w.fill.bufs[:0])
		ok, err := w.frame(it.todo, w.fill.bufs)
		clear(w.fill.bufs)
		return ok, err
	}
	for w.begun < len(it.slab.ends) {
		start := 0
		if w.begun > 0 {
			start = it.slab.ends[w.begun-1]
		}
		w.fill.bufs = append(w.fill.bufs[:0], it.slab.buf[start:it.slab.ends[w.begun]])
		ok, err := w.frame(offload{}, w.fill.bufs)
		clear(w.fill.bufs)
		if !ok || err != nil {
			return false, err
		}
		w.begun++
	}
	w.begun = 0
	return true, nil
}

// frame writes one frame to receive buffers, and reports whether it is gone.
func (w *card) frame(todo offload, bufs [][]byte) (bool, error) {
	size := vnetLen
	for _, b := range bufs {
		size += len(b)
	}
	f := w.features.Load()
	if f&featGuestChecksum == 0 {
		todo.flags &^= dataValid
	}
	room, err := w.reserve(size, f&featMergeable != 0)
	switch {
	case err != nil:
		return false, w.rx.Break(err)
	case room == 0:
		return false, nil
	case room < size:
		w.rx.Unpop(1)
		w.counts.txUnfit.Add(1)
		return true, nil
	}
	var head [vnetLen]byte
	todo.encode(&head, len(w.fill.chains))
	w.scatter(head[:], bufs)
	return true, nil
}

// reserve takes buffers for size bytes, one only when they may not be merged,
// and returns their room; 0 is none, and the driver was asked for a kick.
func (w *card) reserve(size int, merge bool) (room int, err error) {
	f := &w.fill
	f.chains, f.segs = f.chains[:0], f.segs[:0]
	pop := w.rx.Pop
	for room < size {
		head, segs, ok, err := pop()
		switch {
		case err != nil:
			return 0, err
		case !ok && w.rx.AskKick():
			continue // one came meanwhile
		case !ok:
			w.rx.Unpop(len(f.chains))
			return 0, nil
		}
		had := room
		for _, s := range segs {
			if !s.Writable {
				return 0, errReceiveBuffer
			}
			room += len(s.Mem)
		}
		if room-had < vnetLen || len(f.chains) == maxMerged {
			return 0, errReceiveBuffer
		}
		f.chains = append(f.chains, chain{head, len(segs)})
		f.segs = append(f.segs, segs...)
		if !merge {
			break
		}
		pop = w.rx.PopMore
	}
	return room, nil
}

// scatter copies head and bufs to the buffers that were reserved, and gives
// those back: the guest sees them all at once.
func (w *card) scatter(head []byte, bufs [][]byte) {
	segs := w.fill.segs
	src := head
	for _, c := range w.fill.chains {
		written := 0
		for _, s := range segs[:c.segs] {
			n := 0
			for n < len(s.Mem) {
				for len(src) == 0 && len(bufs) > 0 {
					src, bufs = bufs[0], bufs[1:]
				}
				if len(src) == 0 {
					break
				}
				k := copy(s.Mem[n:], src)
				src, n = src[k:], n+k
			}
			w.rx.Wrote(s, n)
			written += n
		}
		segs = segs[c.segs:]
		w.rx.Put(c.head, written)
	}
	w.fill.put = true
}
