package usernet

import (
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// slab holds one or more complete frames, back to back.
type slab struct {
	buf  []byte
	ends []int // where each frame ends in buf
	home interface{ Put(any) }
}

func (s *slab) put() {
	if cap(s.buf) > relaySlabBytes { // grown, for a guest that takes tiny segments: none is kept
		return
	}
	s.buf, s.ends = s.buf[:0], s.ends[:0]
	s.home.Put(s)
}

// segment does what an interface with TSO would: it cuts the TCP packet to its
// MSS into s and fills in the checksums that the stack left out.
func (s *slab) segment(pkt *stack.PacketBuffer) {
	lh, nh, th := pkt.LinkHeader().Slice(), pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	v6 := pkt.GSOOptions.Type == stack.GSOTCPv6
	mss := int(pkt.GSOOptions.MSS)
	data := pkt.Data().AsRange().ToSlice()
	seq := header.TCP(th).SequenceNumber()
	var pseudo uint16 // of the pseudo header without its length
	if v6 {
		ip := header.IPv6(nh)
		pseudo = header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), 0)
	} else {
		ip := header.IPv4(nh)
		pseudo = header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), 0)
	}
	for off := 0; off < len(data); off += mss {
		end := min(off+mss, len(data))
		s.buf = append(s.buf, lh...)
		ipAt := len(s.buf)
		s.buf = append(s.buf, nh...)
		tcpAt := len(s.buf)
		s.buf = append(s.buf, th...)
		s.buf = append(s.buf, data[off:end]...)
		if v6 {
			header.IPv6(s.buf[ipAt:]).SetPayloadLength(uint16(len(s.buf) - tcpAt))
		} else {
			ip := header.IPv4(s.buf[ipAt:])
			ip.SetTotalLength(uint16(len(s.buf) - ipAt))
			ip.SetChecksum(0)
			ip.SetChecksum(^ip.CalculateChecksum())
		}
		t := header.TCP(s.buf[tcpAt:])
		t.SetSequenceNumber(seq + uint32(off))
		if end < len(data) { // the last one alone ends the data
			t.SetFlags(uint8(t.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh)))
		}
		t.SetChecksum(0)
		t.SetChecksum(^checksum.Checksum(t, checksum.Combine(pseudo, uint16(len(t)))))
		s.ends = append(s.ends, len(s.buf))
	}
}

// finishChecksum completes the TCP checksum of a packet that needs no cutting:
// the stack has put the pseudo header's sum in its place.
func finishChecksum(pkt *stack.PacketBuffer) {
	t := header.TCP(pkt.TransportHeader().Slice())
	pseudo := t.Checksum()
	t.SetChecksum(0)
	t.SetChecksum(^t.CalculateChecksum(checksum.Combine(pseudo, pkt.Data().Checksum())))
}
