package usernet

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// txItem is a packet of the stack, or a slab of frames cut by segment.
type txItem struct {
	pkt  *stack.PacketBuffer
	slab *slab
	size int     // bytes, as counted in link.queued
	todo offload // what pkt leaves to the guest; slabs leave nothing
}

// slices appends the bytes of the item's packet, without copying.
func (it txItem) slices(bufs [][]byte) [][]byte {
	views, off := it.pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if off >= len(b) {
			off -= len(b)
			continue
		}
		bufs = append(bufs, b[off:])
		off = 0
	}
	return bufs
}

func (it txItem) release() {
	if it.pkt != nil {
		it.pkt.DecRef()
	} else {
		it.slab.put()
	}
}

// WritePackets queues the packets and, when nobody is writing, writes them at
// once without waiting. What the socket does not take is left to the writer
// goroutine: a caller inside the stack holds its endpoint's lock, and a paused
// machine would block every dial and Close with it.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	l.mu.Lock()
	if l.wire == nil {
		l.mu.Unlock()
		l.net.counts.txDown.Add(1)
		return 0, &tcpip.ErrNoBufferSpace{}
	}
	for _, pkt := range list.AsSlice() {
		if l.queued+pkt.Size() > l.net.cfg.QueueBytes {
			l.net.counts.txFull.Add(1)
			break
		}
		n++
		l.enqueue(l.item(pkt))
	}
	mine := !l.busy && len(l.queue) > 0
	if mine {
		l.busy = true
	}
	l.mu.Unlock()
	if mine && !l.drain(false) {
		l.kick <- struct{}{} // the ownership of send goes along; there is one owner, and room for one
	}
	if n < list.Len() {
		return n, &tcpip.ErrNoBufferSpace{}
	}
	return n, nil
}

// enqueue puts it at the queue's end. l.mu is held.
func (l *link) enqueue(it txItem) {
	l.queued += it.size
	l.queue = append(l.queue, it)
}

// push queues s and writes as WritePackets does. False when there is no wire or
// no room: s stays the caller's.
func (l *link) push(s *slab) bool {
	c := &l.net.relayed
	it := txItem{slab: s, size: len(s.buf)}
	frames := uint64(len(s.ends))
	l.mu.Lock()
	if l.wire == nil || l.queued+it.size > l.net.cfg.QueueBytes {
		down := l.wire == nil
		l.mu.Unlock()
		if down {
			c.down.Add(frames)
		} else {
			c.guestFull.Add(frames)
		}
		return false
	}
	l.enqueue(it)
	mine := !l.busy
	l.busy = true
	l.mu.Unlock()
	if mine && !l.drain(false) {
		l.kick <- struct{}{} // see WritePackets
	}
	return true
}

// item makes a queue entry of pkt, with what HostGSOSupported leaves to the
// interface: TCP's checksum and segments. The guest does without, where it said
// so. Otherwise the item may be many times larger than pkt: the guest
// chooses the segments' size, down to one byte behind the headers of each. l.mu
// is held, and there is a wire.
func (l *link) item(pkt *stack.PacketBuffer) txItem {
	todo := offload{flags: dataValid}
	if t := pkt.GSOOptions.Type; t == stack.GSOTCPv4 || t == stack.GSOTCPv6 {
		takes := l.wire.offloads()
		whole := pkt.Data().Size() <= int(pkt.GSOOptions.MSS)
		switch {
		case takes.checksum && (whole || t == stack.GSOTCPv4 && takes.tso4 || t == stack.GSOTCPv6 && takes.tso6):
			todo = offloadTCP(pkt, !whole)
		case whole:
			finishChecksum(pkt)
		default:
			s := l.net.pools.slab()
			s.segment(pkt)
			return txItem{slab: s, size: len(s.buf)}
		}
	}
	return txItem{pkt: pkt.IncRef(), size: pkt.Size(), todo: todo}
}

// drain sends what is queued; its caller owns send. It reports false when the
// socket is full, and the ownership stays with the caller; with wait it never
// does. When it reports true the ownership is gone.
func (l *link) drain(wait bool) bool {
	for {
		l.mu.Lock()
		w, batch := l.wire, l.queue
		if len(batch) == 0 || w == nil {
			l.dropLocked()
			l.busy = false
			l.mu.Unlock()
			return true
		}
		l.queue, l.spare = l.spare[:0], nil
		l.mu.Unlock()

		sent, bytes := 0, 0
		var err error
		for sent < len(batch) {
			var n int
			n, err = w.send(batch[sent:], wait)
			for _, it := range batch[sent : sent+n] {
				bytes += it.size
				it.release()
			}
			sent += n
			if err != nil || n == 0 && !wait {
				break
			}
		}

		l.mu.Lock()
		l.queued -= bytes
		rest := batch[sent:]
		if err != nil { // the wire is going down, receive will say why
			for _, it := range rest {
				l.queued -= it.size
				it.release()
			}
			rest = nil
		}
		blocked := len(rest) > 0
		if blocked {
			l.queue = append(append(make([]txItem, 0, len(rest)+len(l.queue)+8), rest...), l.queue...)
		}
		clear(batch)
		l.spare = batch[:0]
		l.mu.Unlock()
		if blocked {
			return false
		}
	}
}

func (l *link) dropLocked() {
	for _, it := range l.queue {
		l.queued -= it.size
		it.release()
	}
	clear(l.queue)
	l.queue = l.queue[:0]
}
