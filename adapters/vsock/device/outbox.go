//go:build linux

package device

import "slices"

// Kinds of control packets that a stream can have waiting. One of each is
// enough: a later one says all that an earlier one said.
const (
	wantRequest = 1 << iota
	wantCreditUpdate
	wantCreditRequest
	wantShutdown
	wantRst
)

// strayLimit is how many resets of unknown streams wait for receive buffers
// before the device stops to take packets, so that a driver that sends and
// never receives is held back instead of stored.
const strayLimit = 256

// outbox holds what waits for receive buffers of the guest. The mutex of the
// rx queue guards it, and the pending, shut and stalled fields of streams.
type outbox struct {
	control  []*Stream // streams with pending control packets
	strays   []header  // resets that belong to no stream
	stalled  []*Stream // writers without a buffer, first come first served
	txPaused bool
}

func (o *outbox) empty() bool { return len(o.control) == 0 && len(o.strays) == 0 }

// post adds control packets of a stream. A reset replaces what else is
// waiting; a stream that the peer never heard of needs none.
func (o *outbox) post(s *Stream, want uint8, shut uint32) {
	if want&wantRst != 0 && s.pending&wantRequest != 0 {
		s.pending = 0
		i := slices.Index(o.control, s)
		o.control = slices.Delete(o.control, i, i+1)
		return
	}
	if s.pending == 0 {
		o.control = append(o.control, s)
	}
	s.pending |= want
	s.shut |= shut
}

// next is the first waiting control packet; taken must be called when it is
// sent.
func (o *outbox) next() (h header, s *Stream, ok bool) {
	if len(o.strays) > 0 {
		return o.strays[0], nil, true
	}
	if len(o.control) == 0 {
		return header{}, nil, false
	}
	s = o.control[0]
	h = s.header()
	switch {
	case s.pending&wantRst != 0:
		h.op = opRst
	case s.pending&wantRequest != 0:
		h.op = opRequest
	case s.pending&wantCreditUpdate != 0:
		h.op = opCreditUpdate
	case s.pending&wantCreditRequest != 0:
		h.op = opCreditRequest
	default:
		h.op, h.flags = opShutdown, s.shut
	}
	return h, s, true
}

// taken removes the packet that next returned.
func (o *outbox) taken(op uint16, s *Stream) {
	if s == nil {
		o.strays = o.strays[1:]
		return
	}
	switch op {
	case opRst:
		s.pending = 0
	case opRequest:
		s.pending &^= wantRequest
	case opCreditUpdate:
		s.pending &^= wantCreditUpdate
	case opCreditRequest:
		s.pending &^= wantCreditRequest
	case opShutdown:
		s.pending &^= wantShutdown
	}
	if s.pending == 0 {
		o.control[0] = nil
		o.control = o.control[1:]
	}
}

func (o *outbox) clear() {
	for _, s := range o.control {
		s.pending = 0
	}
	*o = outbox{stalled: o.stalled}
}

// stall queues a writer for the next receive buffer.
func (o *outbox) stall(s *Stream) {
	if !s.stalled {
		s.stalled = true
		o.stalled = append(o.stalled, s)
	}
}

// wake lets up to n stalled writers try again.
func (o *outbox) wake(n int) {
	for ; n > 0 && len(o.stalled) > 0; n-- {
		s := o.stalled[0]
		o.stalled[0] = nil
		o.stalled = o.stalled[1:]
		s.stalled = false
		s.wakeWriter()
	}
}

// leave takes a writer that gave up out of the queue.
func (o *outbox) leave(s *Stream) {
	if !s.stalled {
		return
	}
	s.stalled = false
	i := slices.Index(o.stalled, s)
	o.stalled = slices.Delete(o.stalled, i, i+1)
}
