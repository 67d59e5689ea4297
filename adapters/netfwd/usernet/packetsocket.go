package usernet

import (
	"bytes"
	"context"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// packetSocket is a UDP endpoint of the stack. Unlike gonet's it takes a
// buffer only when there is something to put into it, and drops rather than
// waits when the link is full.
type packetSocket struct {
	ep    tcpip.Endpoint
	wq    *waiter.Queue
	entry waiter.Entry
	ready chan struct{}
}

func newPacketSocket(wq *waiter.Queue, ep tcpip.Endpoint) *packetSocket {
	s := &packetSocket{ep: ep, wq: wq}
	s.entry, s.ready = waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&s.entry)
	return s
}

// serve calls f with each datagram and its sender until ctx ends. f keeps
// nothing of the datagram.
func (s *packetSocket) serve(ctx context.Context, p *pools, f func(datagram []byte, from tcpip.FullAddress)) {
	for ctx.Err() == nil {
		s.readAll(p, f)
		select {
		case <-s.ready:
		case <-ctx.Done():
		}
	}
}

func (s *packetSocket) readAll(p *pools, f func([]byte, tcpip.FullAddress)) {
	buf := take(&p.datagrams, datagramBuffer)
	defer p.datagrams.Put(buf)
	for failed := false; ; {
		w := tcpip.SliceWriter(*buf)
		res, err := s.ep.Read(&w, tcpip.ReadOptions{NeedRemoteAddr: true})
		switch err.(type) {
		case nil:
			failed = false
			f((*buf)[:res.Count], res.RemoteAddr)
		case *tcpip.ErrWouldBlock, *tcpip.ErrClosedForReceive, *tcpip.ErrInvalidEndpointState, *tcpip.ErrNotConnected:
			return
		default: // an ICMP error for what was sent: said once, and data may follow
			if failed {
				return
			}
			failed = true
		}
	}
}

// send sends one datagram, to the peer of a connected socket when to is nil,
// and reports whether the stack took it.
func (s *packetSocket) send(b []byte, to *tcpip.FullAddress) bool {
	_, err := s.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{To: to, Atomic: true})
	return err == nil
}

func (s *packetSocket) close() {
	s.wq.EventUnregister(&s.entry)
	s.ep.Close()
}
