package usernet

import (
	"bytes"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// MaxDatagram is the largest payload of a UDP datagram, bytes, of IPv4.
const MaxDatagram = 65507

// datagramQueue is how many bytes of the guest's datagrams wait in a socket of
// DialDatagrams: several of the largest.
const datagramQueue = 256 << 10

// Datagrams is a connected UDP socket towards the guest's side that never
// waits. Its methods may be called from any goroutine; its owner closes it.
type Datagrams struct {
	ep    tcpip.Endpoint
	wq    *waiter.Queue
	entry waiter.Entry
}

// DialDatagrams returns a socket connected to an address on the guest's side,
// with the errors of DialUDP. ready is called, from within the stack, whenever
// there may be something to Receive: it must return at once and call no method
// of the socket.
func (n *Network) DialDatagrams(to netip.AddrPort, ready func()) (*Datagrams, error) {
	if err := n.dialable(to); err != nil {
		return nil, dialError("udp", to, err)
	}
	addr, proto := toFull(to)
	d := &Datagrams{wq: new(waiter.Queue)}
	ep, terr := n.stack.NewEndpoint(udp.ProtocolNumber, proto, d.wq)
	if terr != nil {
		return nil, dialError("udp", to, errnoOf(terr))
	}
	d.ep = ep
	ep.SocketOptions().SetReceiveBufferSize(datagramQueue, true)
	d.entry = waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.EventErr|waiter.EventHUp,
		func(waiter.EventMask) { ready() })
	d.wq.EventRegister(&d.entry)
	if terr := ep.Connect(addr); terr != nil {
		d.Close()
		return nil, dialError("udp", to, errnoOf(terr))
	}
	return d, nil
}

// Send sends one datagram. It is dropped, with an error, when the link is full.
// ECONNREFUSED and the like are about an earlier one, which the guest refused;
// b was not sent then.
func (d *Datagrams) Send(b []byte) error {
	if _, terr := d.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{Atomic: true}); terr != nil {
		return errnoOf(terr)
	}
	return nil
}

// Receive takes one datagram that has arrived into b. False with a nil error
// means that there is none. ECONNREFUSED and the like say that the guest
// refused what was sent.
func (d *Datagrams) Receive(b []byte) (k int, ok bool, err error) {
	w := tcpip.SliceWriter(b)
	res, terr := d.ep.Read(&w, tcpip.ReadOptions{})
	switch terr.(type) {
	case nil:
		return res.Count, true, nil
	case *tcpip.ErrWouldBlock:
		return 0, false, nil
	}
	return 0, false, errnoOf(terr)
}

// Close frees the socket.
func (d *Datagrams) Close() {
	d.wq.EventUnregister(&d.entry)
	d.ep.Close()
}
