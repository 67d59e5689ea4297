package usernet

import (
	"bytes"
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
)

// groSlots is how many packets a bucket of netstack's GRO holds.
const groSlots = 8

// receiver takes the frames of one wire. It is used by one goroutine.
type receiver struct {
	link *link
	disp *dispatcher
	gro  gro.GRO
}

func newReceiver(l *link) *receiver {
	r := &receiver{link: l, disp: l.disp.Load()}
	r.gro.Init(true)
	r.gro.Dispatcher = r.disp
	return r
}

// frame takes one Ethernet frame from the guest, and keeps nothing of f.
func (r *receiver) frame(f []byte) {
	if len(f) < ethLen {
		r.link.net.counts.rxFrames.Add(1)
		r.link.net.counts.rxShort.Add(1)
		return
	}
	r.packet([ethLen]byte(f), buffer.NewViewWithData(f[ethLen:]), offload{})
}

// packet checks a frame's header and payload, which it owns, and hands the
// payload to the stack or to the host. The guest may have left it todo.
func (r *receiver) packet(eth [ethLen]byte, payload *buffer.View, todo offload) {
	if !r.admit(eth, payload.AsSlice(), todo) {
		payload.Release()
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(payload)})
	pkt.PktType = tcpip.PacketHost
	if eth[0]&1 != 0 {
		pkt.PktType = tcpip.PacketMulticast
	}
	pkt.NetworkProtocolNumber = protocol(eth)
	pkt.RXChecksumValidated = true // and a partial one need not be finished for it
	r.gro.Enqueue(pkt)
	pkt.DecRef()
}

func protocol(eth [ethLen]byte) tcpip.NetworkProtocolNumber {
	return tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(eth[12:]))
}

// admit says whether the stack is to get the payload b.
func (r *receiver) admit(eth [ethLen]byte, b []byte, todo offload) bool {
	n := r.link.net
	c := &n.counts
	c.rxFrames.Add(1)
	if !todo.valid(ethLen + len(b)) {
		c.rxOffload.Add(1)
		return false
	}
	// A packet with segments yet to be cut may be larger than the MTU.
	if len(b) > int(r.link.mtu.Load()) && (todo.gsoType == gsoNone || len(b) > gsoMaxSize) {
		c.rxLong.Add(1)
		return false
	}
	toGateway := bytes.Equal(eth[:6], n.cfg.GatewayMAC[:])
	if !toGateway && eth[0]&1 == 0 {
		c.rxForeign.Add(1)
		return false
	}
	if relay := n.relay.Load(); relay != nil && toGateway && relay.take(b, todo) {
		return false
	}
	if r.disp == nil || !n.policy.Load().admit(protocol(eth), b) {
		c.rxForeign.Add(1)
		return false
	}
	return true
}

// flush ends a batch of frames: merged segments wait no longer.
func (r *receiver) flush() {
	// One call hands on only the first packet of each bucket (it loses its place
	// in the list by removing), so it takes as many calls as a bucket has slots.
	for range groSlots {
		r.gro.Flush()
	}
}
