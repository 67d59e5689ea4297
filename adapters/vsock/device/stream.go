//go:build linux

package device

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"arcbox/adapters/internal/vhostuser"
)

// Stream is one connection to a port of the guest. Its methods may be called
// from several goroutines at once.
//
// A read returns io.EOF after the guest ended its data, ECONNRESET after a
// reset of the stream or of the guest. A write returns EPIPE when the guest
// reads no more. Both return os.ErrDeadlineExceeded at a deadline, and
// net.ErrClosed after Close; what arrived before is read first.
type Stream struct {
	m   *mux
	key streamKey

	// Guarded by the mutex of the rx queue: the stream's place in the outbox.
	pending uint8
	shut    uint32
	stalled bool

	taken      atomic.Uint32 // bytes the reader has taken
	advertised atomic.Uint32 // what the guest was last told of them

	readMu, writeMu           sync.Mutex // one reader, one writer at a time
	readable, writable        chan struct{}
	readDeadline, wrtDeadline deadline
	opened                    chan struct{} // closed when the guest answered the request

	mu      sync.Mutex
	answer  bool // opened is closed
	recv    recvBuf
	credit  sendCredit
	asked   bool  // for credit, since there was some
	err     error // what ended the stream from outside
	eof     bool  // the guest sends no more
	deaf    bool  // the guest reads no more
	wrShut  bool
	closed  bool
	refused bool
}

func newStream(m *mux, k streamKey) *Stream {
	return &Stream{
		m: m, key: k, recv: recvBuf{pool: &m.chunks},
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), opened: make(chan struct{}),
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Stream) wakeWriter() { poke(s.writable) }

// header is the header of a packet to the guest, with the current credit.
func (s *Stream) header() header {
	fwd := s.taken.Load()
	s.advertised.Store(fwd)
	return header{
		srcCID: hostCID, dstCID: s.m.cid, srcPort: s.key.host, dstPort: s.key.guest,
		typ: typeStream, alloc: recvWindow, fwd: fwd,
	}
}

// update takes the credit that a packet of the guest carries.
func (s *Stream) update(h header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.credit.update(h.alloc, h.fwd)
	if s.credit.room() > 0 {
		s.asked = false
		poke(s.writable)
	}
	return ok
}

// accepted handles the guest's answer to the request. Before it nothing else
// may come, and it comes once.
func (s *Stream) accepted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer {
		return false
	}
	s.answer = true
	close(s.opened)
	return true
}

// fail ends the stream from outside.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	if !s.answer {
		s.answer, s.refused = true, true
		close(s.opened)
	}
	poke(s.readable)
	poke(s.writable)
}

// peerReset handles the guest's reset: nobody listens, or the stream is over.
func (s *Stream) peerReset() {
	s.mu.Lock()
	answered := s.answer
	s.mu.Unlock()
	if answered {
		s.fail(syscall.ECONNRESET)
	} else {
		s.fail(syscall.ECONNREFUSED)
	}
}

// receive takes n bytes of payload. It is false when the guest may not send
// them: too early, after its end, or beyond the credit it was given.
func (s *Stream) receive(segs []vhostuser.Segment, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answer || s.eof || s.recv.len()+n > recvWindow {
		return false
	}
	if s.closed {
		s.taken.Add(uint32(n)) // on its way when this side closed
		return true
	}
	for i := range segs {
		k := min(n, len(segs[i].Mem))
		s.recv.write(segs[i].Mem[:k])
		if n -= k; n == 0 {
			break
		}
	}
	poke(s.readable)
	return true
}

// peerShutdown handles the end of directions at the guest. both is true when
// none is left, ok is false when it comes before the answer to the request.
func (s *Stream) peerShutdown(flags uint32) (both, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answer {
		return false, false
	}
	s.eof = s.eof || flags&shutSend != 0
	s.deaf = s.deaf || flags&shutReceive != 0
	poke(s.readable)
	poke(s.writable)
	return s.eof && s.deaf, true
}

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	for {
		passed := s.readDeadline.done()
		if isClosed(passed) {
			return 0, s.opError("read", os.ErrDeadlineExceeded)
		}
		n, err, ready := s.takeReceived(p)
		if ready {
			return n, err
		}
		select {
		case <-s.readable:
		case <-passed:
		}
	}
}

func (s *Stream) takeReceived(p []byte) (n int, err error, ready bool) {
	s.mu.Lock()
	switch {
	case s.closed:
		err = net.ErrClosed
	case len(p) == 0:
	case s.recv.len() > 0:
		n = s.recv.read(p)
	case s.eof:
		err = io.EOF
	case s.err != nil:
		err = s.err
	default:
		s.mu.Unlock()
		return 0, nil, false
	}
	taken := s.taken.Add(uint32(n))
	tell := n > 0 && taken-s.advertised.Load() >= recvWindow/4 && s.err == nil && !s.eof
	s.mu.Unlock()
	if tell {
		s.m.post(s, wantCreditUpdate, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.opError("read", err)
	}
	return n, err, true
}

// Write implements net.Conn. It returns when the guest's driver has all of p.
func (s *Stream) Write(p []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	done := 0
	for {
		passed := s.wrtDeadline.done()
		room, err := s.reserve(len(p) - done)
		if err == nil && isClosed(passed) {
			s.unreserve(room)
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			s.m.giveUp(s)
			return done, s.opError("write", err)
		}
		if room > 0 {
			sent, err := s.m.send(s, p[done:done+room])
			s.unreserve(room - sent)
			done += sent
			if err == nil && sent > 0 && done < len(p) {
				continue // a batch is done, or the credit is used up
			}
		}
		if done == len(p) {
			return done, nil
		}
		select {
		case <-s.writable:
		case <-passed:
		}
	}
}

// reserve takes up to n bytes of the credit. 0 with n > 0 is: wait.
func (s *Stream) reserve(n int) (int, error) {
	s.mu.Lock()
	var err error
	switch {
	case s.closed || s.wrShut:
		err = net.ErrClosed
	case s.deaf:
		err = syscall.EPIPE
	case s.err != nil:
		err = s.err
	}
	if err != nil {
		s.mu.Unlock()
		return 0, err
	}
	room := min(n, int(s.credit.room()))
	s.credit.sent += uint32(room)
	ask := room == 0 && n > 0 && !s.asked
	s.asked = s.asked || ask
	s.mu.Unlock()
	if ask {
		s.m.post(s, wantCreditRequest, 0)
	}
	return room, nil
}

func (s *Stream) unreserve(n int) {
	s.mu.Lock()
	s.credit.sent -= uint32(n)
	s.mu.Unlock()
}

// CloseWrite implements port.Stream. A Write that is waiting ends with
// net.ErrClosed; what was written before reaches the guest before the end.
func (s *Stream) CloseWrite() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.opError("close", net.ErrClosed)
	}
	first := !s.wrShut
	s.wrShut = true
	ended := s.err != nil || s.eof && s.deaf
	poke(s.writable)
	s.mu.Unlock()
	if !first || ended {
		return nil
	}
	s.writeMu.Lock() // a writer on its way is in front of the end
	defer s.writeMu.Unlock()
	s.m.post(s, wantShutdown, shutSend)
	return nil
}

// Close implements net.Conn. It does not wait for the guest, which has the
// time of lingerTime to confirm.
func (s *Stream) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return s.opError("close", net.ErrClosed)
	}
	s.closed = true
	s.taken.Add(uint32(s.recv.len()))
	s.recv.drop()
	ended := s.err != nil || s.eof && s.deaf
	poke(s.readable)
	poke(s.writable)
	s.mu.Unlock()
	s.readDeadline.at(time.Time{})
	s.wrtDeadline.at(time.Time{})
	if ended {
		s.m.drop(s)
		return nil
	}
	s.m.lingerFor(s)
	s.m.post(s, wantShutdown, shutBoth)
	return nil
}

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	s.readDeadline.at(t)
	s.wrtDeadline.at(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.readDeadline.at(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.wrtDeadline.at(t)
	return nil
}

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return Addr{CID: hostCID, Port: s.key.host} }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return Addr{CID: uint32(s.m.cid), Port: s.key.guest} }

func (s *Stream) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "vsock", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// Addr is the address of an end of a stream.
type Addr struct{ CID, Port uint32 }

// Network implements net.Addr.
func (Addr) Network() string { return "vsock" }

func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }
