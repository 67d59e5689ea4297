package netfwd

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

const (
	// udpBatch is how many datagrams are moved before others get their turn.
	udpBatch = 64
	// udpSocketBuffer is asked for on the host's socket, for bursts; the kernel
	// may give less.
	udpSocketBuffer = 1 << 20
	dnsPort         = 53
)

// udpForward is the data path of one UDP port: a socket on the host, and in
// the stack one for each client. Two goroutines serve all of them, one in each
// direction.
type udpForward struct {
	*forward
	conn     *net.UDPConn
	raw      syscall.RawConn
	plan     bindPlan
	wildcard bool // several addresses of the host: where a datagram came to matters
	idle     time.Duration

	wake    chan struct{} // ready is not empty
	crowded int64         // until then no session is quiet enough to end; of requests

	mu       sync.Mutex
	sessions map[udpKey]*udpSession
	ready    []*udpSession // may have something from the guest
	expiry   *time.Timer   // runs while there are sessions
	ticking  bool
}

// listenUDP binds plan and starts to carry its sessions.
func (f *forward) listenUDP(ctx context.Context, plan bindPlan) error {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, familyNetwork(domain.UDP, plan.at.Addr()), plan.at.String())
	if err != nil {
		return err
	}
	u := &udpForward{
		forward: f, conn: pc.(*net.UDPConn), plan: plan, wildcard: plan.at.Addr().IsUnspecified(),
		idle: f.limits.udpIdle, wake: make(chan struct{}, 1), sessions: make(map[udpKey]*udpSession),
	}
	if f.rule.Target.Port() == dnsPort {
		u.idle = min(u.idle, f.limits.udpIdleDNS)
	}
	if u.raw, err = u.conn.SyscallConn(); err == nil && u.wildcard {
		err = wantLocalAddress(u.raw, plan.at.Addr())
	}
	if err != nil {
		pc.Close()
		return err
	}
	_ = u.conn.SetReadBuffer(udpSocketBuffer) // a smaller one loses more of a burst
	u.expiry = time.NewTimer(time.Hour)
	u.expiry.Stop()
	f.unbind = func() { pc.Close() }
	f.running.Go(u.requests)
	f.running.Go(u.replies)
	return nil
}

// requests passes the clients' datagrams on until the socket is closed.
func (u *udpForward) requests() {
	defer u.expire(math.MaxInt64) // replies may have ended before the last session was made
	var oob [controlSpace]byte
	var bufs [1][]byte
	var recvErr error
	read := func(fd uintptr) bool {
		buf := u.owner.buffer()
		defer u.owner.buffers.Put(buf)
		bufs[0] = *buf
		for range udpBatch {
			k, oobn, flags, from, err := unix.RecvmsgBuffers(int(fd), bufs[:], oob[:], 0)
			switch err {
			case nil:
				if flags&unix.MSG_TRUNC == 0 { // IPv6 has larger ones than MaxDatagram: a part of one is not what was sent
					u.request(bufs[0][:k], from, oob[:oobn])
				}
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				recvErr = err
				return true
			}
		}
		return true
	}
	for {
		recvErr = nil
		if err := u.raw.Read(read); err != nil {
			return
		}
		// An ICMP error for an answer (macOS) passes, and so does want of memory.
		if recvErr != nil && recvErr != unix.ECONNREFUSED && !u.pause(firstAcceptPause) {
			return
		}
	}
}

// request passes one datagram on; it keeps nothing of b and oob.
func (u *udpForward) request(b []byte, from unix.Sockaddr, oob []byte) {
	key := udpKey{client: peerOf(from)}
	if u.wildcard {
		key.local = localOf(oob)
		if !u.plan.admits(key.local) {
			return
		}
	}
	if key.client.Port() == 0 {
		return
	}
	s := u.session(key)
	if s == nil {
		return
	}
	err := s.guest.Send(b)
	if refusal(err) { // of an earlier one: this one was not sent
		u.noteRefusal(s)
		err = s.guest.Send(b)
	}
	if err == nil {
		u.moved.ToGuest.Add(uint64(len(b)))
	}
}

// notify says that the guest may have sent something. The stack calls it.
func (u *udpForward) notify(s *udpSession) {
	u.mu.Lock()
	if !s.queued {
		s.queued = true
		if s.guest != nil {
			u.ready = append(u.ready, s)
		}
	}
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// replies passes the guest's answers on and ends idle sessions, until the
// forward is closed.
func (u *udpForward) replies() {
	defer u.expire(math.MaxInt64)
	defer u.expiry.Stop()
	for {
		select {
		case <-u.wake:
			for s := u.next(); s != nil && u.life.Err() == nil; s = u.next() {
				u.reply(s)
			}
		case <-u.expiry.C:
			u.expire(time.Now().Add(-u.idle).UnixNano())
		case <-u.life.Done():
			return
		}
	}
}

func (u *udpForward) next() *udpSession {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.ready) == 0 {
		u.ready = nil
		return nil
	}
	s := u.ready[0]
	u.ready[0] = nil
	u.ready = u.ready[1:]
	s.queued = false
	return s
}

// reply passes on what s has, at most udpBatch datagrams.
func (u *udpForward) reply(s *udpSession) {
	buf := u.owner.buffer()
	defer u.owner.buffers.Put(buf)
	for range udpBatch {
		k, ok, err := s.guest.Receive(*buf)
		switch {
		case ok:
			s.last.Store(time.Now().UnixNano())
			// A datagram that the host's kernel does not take is lost, as on any network.
			if _, _, err := u.conn.WriteMsgUDPAddrPort((*buf)[:k], s.source, s.key.client); err == nil {
				u.moved.FromGuest.Add(uint64(k))
			}
		case refusal(err):
			u.noteRefusal(s)
		default: // nothing more, or closed by expire
			return
		}
	}
	u.notify(s)
}

// noteRefusal counts a session whose container refused a datagram, once. The
// session lives on: the next datagram may find a container that listens.
func (u *udpForward) noteRefusal(s *udpSession) {
	if !s.refused.Swap(true) {
		u.failed.Add(1)
	}
}

func refusal(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// buffer returns one for the largest datagram.
func (fs *forwards) buffer() *[]byte {
	if b, ok := fs.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, usernet.MaxDatagram+1)
	return &b
}
