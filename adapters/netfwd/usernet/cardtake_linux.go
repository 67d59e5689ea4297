package usernet

import (
	"gvisor.dev/gvisor/pkg/buffer"

	"arcbox/adapters/internal/vhostuser"
)

// takeBytes bounds what is copied before the stack gets it.
const takeBytes = 512 << 10

// taker is a batch of frames from the guest.
type taker struct{ frames []taken }

// taken is a copy of a frame: the guest could change it while it is checked.
type taken struct {
	eth     [ethLen]byte
	payload *buffer.View
	todo    offload
}

// take runs when the driver has offered frames, and takes all there are.
func (w *card) take(r *receiver) {
	for more := true; more; {
		var err error
		more, err = w.takeSome()
		frames := w.taking.frames
		for i := range frames {
			r.packet(frames[i].eth, frames[i].payload, frames[i].todo)
		}
		if len(frames) > 0 {
			r.flush()
		}
		clear(frames)
		w.taking.frames = frames[:0]
		if err != nil {
			w.broken(err)
			return
		}
	}
}

// takeSome copies a batch of frames and gives their buffers back, with one
// signal. more is false when there are no others, and the driver will kick.
func (w *card) takeSome() (more bool, err error) {
	signal := false
	w.tx.Lock()
	if w.tx.Live() {
		w.tx.RefuseKick()
	}
	n, size := 0, 0
	for w.tx.Live() {
		if n == batchMax || size >= takeBytes {
			more = true
			break
		}
		head, segs, ok, e := w.tx.Pop()
		if e != nil {
			err = w.tx.Break(e)
			break
		}
		if !ok {
			if w.tx.AskKick() {
				continue
			}
			break
		}
		if f, ok := w.gather(segs); ok {
			size += f.payload.Size()
			w.taking.frames = append(w.taking.frames, f)
		}
		w.tx.Put(head, 0)
		n++
	}
	if n > 0 && w.tx.Bound() {
		w.tx.Flush()
		signal = w.tx.WantsSignal()
	}
	w.tx.Unlock()
	if signal {
		w.tx.Notify()
	}
	return more, err
}

// gather copies a frame out of its chain; false when it cannot be one.
func (w *card) gather(segs []vhostuser.Segment) (f taken, ok bool) {
	size := 0
	for _, s := range segs {
		if !s.Writable {
			size += len(s.Mem)
		}
	}
	switch {
	case size < vnetLen+ethLen:
		w.counts.rxFrames.Add(1)
		w.counts.rxShort.Add(1)
		return f, false
	case size > vnetLen+ethLen+gsoMaxSize:
		w.counts.rxFrames.Add(1)
		w.counts.rxLong.Add(1)
		return f, false
	}
	var head [vnetLen]byte
	f.payload = buffer.NewViewSize(size - vnetLen - ethLen)
	into, next := head[:], [][]byte{f.eth[:], f.payload.AsSlice()}
	for _, s := range segs {
		if s.Writable {
			continue
		}
		for b := s.Mem; len(b) > 0; {
			for len(into) == 0 {
				into, next = next[0], next[1:]
			}
			k := copy(into, b)
			into, b = into[k:], b[k:]
		}
	}
	f.todo = decodeOffload(&head)
	return f, true
}
