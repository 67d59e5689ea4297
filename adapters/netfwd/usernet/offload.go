package usernet

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// offloads is what the guest takes unfinished.
type offloads struct{ checksum, tso4, tso6 bool }

// Flags and types of a virtio-net header: VIRTIO 1.2, section 5.1.6.
const (
	needsChecksum = 1
	dataValid     = 2

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoECN   = 0x80

	// vnetLen is struct virtio_net_hdr_v1: an offload, and the number of buffers.
	vnetLen = 12
)

// offload is what the sender of a frame left to be done by the receiver: the
// checksum from byte start on, into start+offset, where the pseudo header's sum
// is; and the cut to segments of gsoSize bytes. The zero value is nothing.
type offload struct {
	flags, gsoType  uint8
	headers         uint16 // bytes of all headers, a hint
	gsoSize         uint16
	start, csumInto uint16 // from the Ethernet header on
}

// offloadTCP leaves a TCP packet of the stack as it is, and its cut with cut.
func offloadTCP(pkt *stack.PacketBuffer, cut bool) offload {
	start := ethLen + len(pkt.NetworkHeader().Slice())
	o := offload{flags: needsChecksum, start: uint16(start), csumInto: header.TCPChecksumOffset}
	if cut {
		o.gsoType, o.gsoSize = gsoTCPv4, pkt.GSOOptions.MSS
		if pkt.GSOOptions.Type == stack.GSOTCPv6 {
			o.gsoType = gsoTCPv6
		}
		o.headers = uint16(start + len(pkt.TransportHeader().Slice()))
	}
	return o
}

func (o offload) encode(b *[vnetLen]byte, buffers int) {
	le := binary.LittleEndian
	b[0], b[1] = o.flags, o.gsoType
	le.PutUint16(b[2:], o.headers)
	le.PutUint16(b[4:], o.gsoSize)
	le.PutUint16(b[6:], o.start)
	le.PutUint16(b[8:], o.csumInto)
	le.PutUint16(b[10:], uint16(buffers))
}

func decodeOffload(b *[vnetLen]byte) offload {
	le := binary.LittleEndian
	return offload{
		flags: b[0], gsoType: b[1] &^ gsoECN,
		headers: le.Uint16(b[2:]), gsoSize: le.Uint16(b[4:]),
		start: le.Uint16(b[6:]), csumInto: le.Uint16(b[8:]),
	}
}

// valid says whether the guest may leave this of a frame of size bytes.
func (o offload) valid(size int) bool {
	if o.flags&needsChecksum != 0 && (o.start < ethLen || int(o.start)+int(o.csumInto)+2 > size) {
		return false
	}
	switch o.gsoType {
	case gsoNone:
		return true
	case gsoTCPv4, gsoTCPv6:
		return o.flags&needsChecksum != 0 && o.gsoSize > 0
	}
	return false
}

// within says whether finish leaves the first n bytes of the payload alone.
func (o offload) within(n int) bool {
	return o.flags&needsChecksum == 0 || int(o.start)-ethLen >= n
}

// finish completes the checksum in b, the frame's payload; o is valid for it.
func (o offload) finish(b []byte) {
	if o.flags&needsChecksum == 0 {
		return
	}
	from := int(o.start) - ethLen
	at := from + int(o.csumInto)
	sum := ^checksum.Checksum(b[from:], 0)
	if sum == 0 {
		sum = 0xffff // the same to TCP; to UDP 0 is none (RFC 768)
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}
