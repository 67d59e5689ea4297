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

// frame checks one Ethernet frame from the guest and hands it to the stack. It
// keeps nothing of f.
func (r *receiver) frame(f []byte) {
	c := &r.link.net.counts
	c.rxFrames.Add(1)
	if len(f) < ethLen {
		c.rxShort.Add(1)
		return
	}
	if len(f) > int(r.link.mtu.Load())+ethLen {
		c.rxLong.Add(1)
		return
	}
	kind := tcpip.PacketHost
	if !bytes.Equal(f[:6], r.link.net.cfg.GatewayMAC[:]) {
		if f[0]&1 == 0 {
			c.rxForeign.Add(1)
			return
		}
		kind = tcpip.PacketMulticast
	}
	proto := tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(f[12:]))
	if relay := r.link.net.relay.Load(); relay != nil && kind == tcpip.PacketHost && relay.take(f[ethLen:]) {
		return
	}
	if r.disp == nil || !r.link.net.policy.Load().admit(proto, f[ethLen:]) {
		c.rxForeign.Add(1)
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f[ethLen:])})
	pkt.PktType = kind
	pkt.NetworkProtocolNumber = proto
	pkt.RXChecksumValidated = true
	r.gro.Enqueue(pkt)
	pkt.DecRef()
}

// flush ends a batch of frames: merged segments wait no longer.
func (r *receiver) flush() {
	// One call hands on only the first packet of each bucket (it loses its place
	// in the list by removing), so it takes as many calls as a bucket has slots.
	for range groSlots {
		r.gro.Flush()
	}
}
