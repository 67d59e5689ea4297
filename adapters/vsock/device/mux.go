//go:build linux

package device

import (
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"arcbox/adapters/internal/vhostuser"
)

const (
	// maxStreams bounds what a caller, and with it the guest, can make this
	// process hold.
	maxStreams = 4096
	// firstPort starts the host's ephemeral ports, above the ports that
	// services use.
	firstPort = 1 << 20
	lastPort  = 1<<32 - 2
	// lingerTime is how long the guest may take to confirm a full close. Then
	// the stream is reset; data the guest has received stays readable there.
	lingerTime = 2 * time.Second
	// signalBatch is how many packets are taken before the driver may refill.
	signalBatch = 16
	// lockBatch is how many packets are moved before others get the queue.
	lockBatch = 128
)

type streamKey struct{ host, guest uint32 }

// mux is the table of streams and the movement of packets between them and
// the queues.
type mux struct {
	log    *slog.Logger
	cid    uint64
	rx, tx *vhostuser.Queue
	chunks chunkPool

	out outbox // guarded by rx.mu

	mu       sync.Mutex
	streams  map[streamKey]*Stream
	nextPort uint32
	linger   []lingering
	closed   error         // set once the device is down for good
	up       chan struct{} // closed while the driver is up
	upNow    bool
	fault    error // why the driver is down, when that was its own doing
	faults   int   // how often

	lingerWake chan struct{}
	end        chan struct{} // closed with closed
}

func newMux(log *slog.Logger, cid uint32, rx, tx *vhostuser.Queue) *mux {
	m := &mux{
		log: log, cid: uint64(cid), rx: rx, tx: tx,
		streams: map[streamKey]*Stream{}, nextPort: firstPort,
		up: make(chan struct{}), lingerWake: make(chan struct{}, 1), end: make(chan struct{}),
	}
	rx.OnKick, tx.OnKick = m.receiveBuffers, m.drain
	return m
}

// receiveBuffers runs when the driver has offered buffers for packets to it.
func (m *mux) receiveBuffers() {
	m.rx.Lock()
	sent, err := m.flush()
	if m.rx.Live() {
		n, _ := m.rx.Pending()
		m.out.wake(n)
	}
	if m.rx.Live() && m.out.empty() && len(m.out.stalled) == 0 {
		m.rx.RefuseKick()
	}
	resume := m.out.txPaused && len(m.out.strays) < strayLimit/2
	if resume {
		m.out.txPaused = false
	}
	m.rx.Unlock()
	m.after(m.rx, sent, err)
	if resume {
		m.tx.KickSelf()
	}
}

// flush sends waiting control packets into the buffers there are. Called with
// rx.mu held; the caller passes the results to after, without it.
func (m *mux) flush() (signal bool, err error) {
	n := 0
	for !m.out.empty() {
		h, s, ok := m.out.next()
		if !ok {
			break
		}
		head, segs, ok, err := m.popRx()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if scatter(segs, h, nil, m.rx) < 0 {
			return false, m.rx.Break(errShortBuffer)
		}
		m.rx.Push(head, headerLen)
		m.out.taken(h.op, s)
		n++
	}
	return n > 0 && m.rx.WantsSignal(), nil
}

var errShortBuffer = fmt.Errorf("a receive buffer of less than %d bytes", headerLen)

// popRx takes a receive buffer; when there is none the driver is asked to say
// when there is. Called with rx.mu held.
func (m *mux) popRx() (head uint16, segs []vhostuser.Segment, ok bool, err error) {
	for m.rx.Live() {
		head, segs, ok, err = m.rx.Pop()
		if err != nil {
			return 0, nil, false, m.rx.Break(err)
		}
		if ok || !m.rx.AskKick() {
			return head, segs, ok, nil
		}
	}
	return 0, nil, false, nil
}

// after does what the mutex of a queue must not be held for.
func (m *mux) after(q *vhostuser.Queue, signal bool, err error) {
	if signal {
		q.Notify()
	}
	if err != nil {
		m.log.Warn("vsock device stopped", "error", err)
		m.driverFailed(err)
		m.reset(err.Error())
	}
}

// post sends control packets of a stream, or leaves them to the next buffers.
func (m *mux) post(s *Stream, want uint8, shut uint32) {
	m.rx.Lock()
	m.out.post(s, want, shut)
	signal, err := m.flush()
	m.rx.Unlock()
	m.after(m.rx, signal, err)
}

// send puts data of a stream into receive buffers. It takes less than all of
// p when the buffers run out; then the stream is stalled and its writer woken
// later.
func (m *mux) send(s *Stream, p []byte) (sent int, err error) {
	m.rx.Lock()
	signal, err := m.flush()
	n := 0
	for ; err == nil && sent < len(p) && n < lockBatch; n++ {
		head, segs, ok, e := m.popRx()
		if e != nil || !ok {
			err = e
			m.out.stall(s)
			break
		}
		h := s.header()
		h.op = opRW
		k := scatter(segs, h, p[sent:], m.rx)
		if k < 1 {
			err = m.rx.Break(errShortBuffer)
			break
		}
		m.rx.Push(head, headerLen+k)
		sent += k
	}
	if n > 0 && m.rx.Bound() {
		signal = m.rx.WantsSignal() || signal
	}
	m.wakeNext(s)
	m.rx.Unlock()
	m.after(m.rx, signal, err)
	return sent, err
}

// wakeNext lets the next stalled writer have the buffers that this one leaves.
// Called with rx.mu held.
func (m *mux) wakeNext(s *Stream) {
	if s.stalled || len(m.out.stalled) == 0 || !m.rx.Live() {
		return
	}
	if n, _ := m.rx.Pending(); n > 0 {
		m.out.wake(1)
	}
}

// giveUp ends the wait of a writer for receive buffers.
func (m *mux) giveUp(s *Stream) {
	m.rx.Lock()
	m.out.leave(s)
	m.wakeNext(s)
	m.rx.Unlock()
}

// drain takes the packets that the guest has sent.
func (m *mux) drain() {
	for m.drainSome() {
	}
}

func (m *mux) drainSome() (more bool) {
	m.tx.Lock()
	n, signal := 0, false
	var err error
	if m.tx.Live() {
		m.tx.RefuseKick()
	}
	for m.tx.Live() {
		if n == lockBatch {
			more = true
			break
		}
		if m.held() {
			break
		}
		head, segs, ok, e := m.tx.Pop()
		if e != nil {
			err = m.tx.Break(e)
			break
		}
		if !ok {
			if m.tx.AskKick() {
				continue
			}
			break
		}
		m.packet(segs)
		m.tx.Push(head, 0)
		if n++; n%signalBatch == 0 && m.tx.WantsSignal() {
			m.tx.Notify()
		}
	}
	if n > 0 && m.tx.Bound() {
		signal = m.tx.WantsSignal()
	}
	m.tx.Unlock()
	m.after(m.tx, signal, err)
	return more
}

// held says whether the guest must first take the resets it is owed.
func (m *mux) held() bool {
	m.rx.Lock()
	defer m.rx.Unlock()
	m.out.txPaused = len(m.out.strays) >= strayLimit
	return m.out.txPaused
}

// packet handles one packet of the guest.
func (m *mux) packet(segs []vhostuser.Segment) {
	h, payload, ok := gather(segs)
	if !ok || h.srcCID != m.cid || h.dstCID != hostCID {
		return // not a packet, or one that nobody here can answer
	}
	m.mu.Lock()
	s := m.streams[streamKey{host: h.dstPort, guest: h.srcPort}]
	m.mu.Unlock()
	switch {
	case h.op == opRst:
		if s != nil && h.typ == typeStream {
			m.drop(s)
			s.peerReset()
		}
	case s == nil || h.typ != typeStream || !s.update(h):
		m.refuse(h, s)
	default:
		m.deliver(s, h, payload)
	}
}

// refuse resets a stream that does not exist, or whose packets are wrong.
func (m *mux) refuse(h header, s *Stream) {
	if s != nil && h.typ == typeStream {
		m.abort(s, syscall.ECONNRESET)
		return
	}
	m.rx.Lock()
	m.out.strays = append(m.out.strays, header{
		srcCID: h.dstCID, dstCID: h.srcCID, srcPort: h.dstPort, dstPort: h.srcPort,
		typ: h.typ, op: opRst,
	})
	signal, err := m.flush()
	m.rx.Unlock()
	m.after(m.rx, signal, err)
}

func (m *mux) deliver(s *Stream, h header, payload []vhostuser.Segment) {
	ok := true
	switch h.op {
	case opResponse:
		ok = s.accepted()
	case opRW:
		ok = readable(payload) >= int(h.len) && s.receive(payload, int(h.len))
	case opCreditUpdate:
	case opCreditRequest:
		m.post(s, wantCreditUpdate, 0)
	case opShutdown:
		var both bool
		if both, ok = s.peerShutdown(h.flags); both {
			// Both directions have ended: confirm, as the guest waits for it.
			m.drop(s)
			m.post(s, wantRst, 0)
		}
	default:
		ok = false
	}
	if !ok {
		m.abort(s, syscall.ECONNRESET)
	}
}

// abort resets a stream towards both sides.
func (m *mux) abort(s *Stream, err error) {
	m.drop(s)
	s.fail(err)
	m.post(s, wantRst, 0)
}

// drop takes a stream out of the table.
func (m *mux) drop(s *Stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streams[s.key] == s {
		delete(m.streams, s.key)
	}
}

// reset fails all streams: the driver that they belong to is gone.
func (m *mux) reset(why string) {
	m.mu.Lock()
	streams := m.streams
	m.streams = map[streamKey]*Stream{}
	m.mu.Unlock()
	m.rx.Lock()
	m.out.clear()
	m.rx.Unlock()
	if len(streams) > 0 {
		m.log.Info("vsock streams reset", "count", len(streams), "reason", why)
	}
	for _, s := range streams {
		s.fail(syscall.ECONNRESET)
	}
}
