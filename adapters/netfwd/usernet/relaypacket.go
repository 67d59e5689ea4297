package usernet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ipHeader is what a relay looks at in a packet.
type ipHeader struct {
	proto    tcpip.NetworkProtocolNumber
	src, dst netip.Addr
	length   int // bytes, of the whole packet; a frame may be longer by its padding
	options  bool
	payload  uint8 // the protocol that follows
	at       int   // where it begins
	first    bool  // of the fragments, or whole
}

// parseIP reads b's header; false when b is no whole IP packet.
func parseIP(b []byte) (ipHeader, bool) {
	if len(b) < header.IPv4MinimumSize {
		return ipHeader{}, false
	}
	switch b[0] >> 4 {
	case header.IPv4Version:
		size, length := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		return ipHeader{
			proto: header.IPv4ProtocolNumber, length: length,
			src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])),
			options: size > header.IPv4MinimumSize, payload: b[9], at: size,
			first: binary.BigEndian.Uint16(b[6:])&0x1fff == 0,
		}, size >= header.IPv4MinimumSize && size <= length && length <= len(b)
	case header.IPv6Version:
		if len(b) < header.IPv6MinimumSize {
			return ipHeader{}, false
		}
		length := header.IPv6MinimumSize + int(binary.BigEndian.Uint16(b[4:]))
		return ipHeader{
			proto: header.IPv6ProtocolNumber, length: length,
			src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])),
			payload: b[6], at: header.IPv6MinimumSize, first: true,
		}, length <= len(b)
	}
	return ipHeader{}, false
}

// risky reports whether a packet of the guest would tell the host how to route:
// by source routes, redirects, or IPv6's neighbour discovery. b is the packet.
func (h *ipHeader) risky(b []byte) bool {
	b = b[h.at:h.length]
	if h.proto == header.IPv4ProtocolNumber {
		return h.options || h.payload == uint8(header.ICMPv4ProtocolNumber) && h.first &&
			(len(b) == 0 || header.ICMPv4Type(b[0]) == header.ICMPv4Redirect)
	}
	next, first := h.payload, true
	if next == uint8(header.IPv6FragmentExtHdrIdentifier) { // what is cut is put together by the host
		if len(b) < header.IPv6FragmentHeaderSize {
			return true
		}
		next, first = b[0], binary.BigEndian.Uint16(b[2:])>>3 == 0 // RFC 8200 section 4.5
		b = b[header.IPv6FragmentHeaderSize:]
	}
	switch next {
	case uint8(header.IPv6HopByHopOptionsExtHdrIdentifier), uint8(header.IPv6RoutingExtHdrIdentifier),
		uint8(header.IPv6DestinationOptionsExtHdrIdentifier), uint8(header.IPv6FragmentExtHdrIdentifier):
		return true // nothing that containers send has them, and they would hide what follows
	case uint8(header.ICMPv6ProtocolNumber):
		return first && (len(b) == 0 ||
			header.ICMPv6Type(b[0]) >= header.ICMPv6RouterSolicit && header.ICMPv6Type(b[0]) <= header.ICMPv6RedirectMsg)
	}
	return false
}
