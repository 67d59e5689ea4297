package usernet

import (
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ackDelay is how long an acknowledgement may wait for something to travel with.
// The stack acknowledges whatever comes at once; each frame wakes the
// hypervisor and interrupts the guest, which costs an emulated processor more
// than the data does. RFC 9293 section 3.8.6.3 allows half a second.
const ackDelay = time.Millisecond

// ackHold keeps at most one pure acknowledgement of each flow: the next packet
// of the flow takes its place, the second acknowledgement in turn goes at once,
// as that section asks for, and time does the rest.
type ackHold struct {
	held  map[flow]heldAck
	timer *time.Timer // runs while something is held
}

type heldAck struct {
	pkt   *stack.PacketBuffer
	since time.Time
}

// flow is one direction of a TCP connection.
type flow struct{ from, to netip.AddrPort }

func newAckHold() *ackHold {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &ackHold{held: make(map[flow]heldAck), timer: t}
}

// pass is asked about every packet that goes to the guest, in order, and says
// whether it is to be sent now. A packet that is not is kept.
func (a *ackHold) pass(pkt *stack.PacketBuffer, now time.Time) bool {
	f, pure, ok := tcpFlow(pkt)
	if !ok {
		return true
	}
	old, had := a.held[f]
	if had {
		old.pkt.DecRef() // what comes later acknowledges as much and more
		delete(a.held, f)
	}
	if had || !pure {
		return true
	}
	if len(a.held) == 0 {
		a.timer.Reset(ackDelay)
	}
	a.held[f] = heldAck{pkt.IncRef(), now}
	return false
}

// due gives up what has waited long enough, to send, and sees to it that the
// timer runs for the rest.
func (a *ackHold) due(now time.Time, send func(*stack.PacketBuffer)) {
	next := time.Duration(-1)
	for f, h := range a.held {
		if wait := ackDelay - now.Sub(h.since); wait > 0 {
			next = max(next, wait)
			continue
		}
		delete(a.held, f)
		send(h.pkt)
	}
	if next >= 0 {
		a.timer.Reset(next)
	}
}

// drop forgets everything that is held.
func (a *ackHold) drop() {
	for f, h := range a.held {
		delete(a.held, f)
		h.pkt.DecRef()
	}
	a.timer.Stop()
}

// timestampedLen is a TCP header with the timestamps option (RFC 7323) and no
// other: blocks of a selective acknowledgement must not wait.
const timestampedLen = header.TCPMinimumSize + 12

// tcpFlow says which flow a packet of the stack belongs to, and whether it is a
// pure acknowledgement; ok is false when it is no TCP.
func tcpFlow(pkt *stack.PacketBuffer) (f flow, pure, ok bool) {
	if pkt.TransportProtocolNumber != header.TCPProtocolNumber {
		return f, false, false
	}
	tcp := header.TCP(pkt.TransportHeader().Slice())
	if len(tcp) < header.TCPMinimumSize {
		return f, false, false
	}
	var from, to []byte
	switch ip := pkt.NetworkHeader().Slice(); {
	case pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber && len(ip) >= header.IPv4MinimumSize:
		from, to = header.IPv4(ip).SourceAddressSlice(), header.IPv4(ip).DestinationAddressSlice()
	case pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber && len(ip) >= header.IPv6MinimumSize:
		from, to = header.IPv6(ip).SourceAddressSlice(), header.IPv6(ip).DestinationAddressSlice()
	default:
		return f, false, false
	}
	a, _ := netip.AddrFromSlice(from)
	b, _ := netip.AddrFromSlice(to)
	f = flow{netip.AddrPortFrom(a, tcp.SourcePort()), netip.AddrPortFrom(b, tcp.DestinationPort())}
	pure = tcp.Flags() == header.TCPFlagAck && pkt.Data().Size() == 0 && len(tcp) <= timestampedLen
	return f, pure, true
}
