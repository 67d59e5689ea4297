package usernet

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// policy decides which addresses are whose. It is a value: SetBehind replaces it.
type policy struct {
	cfg    *Config
	behind []netip.Prefix
	relay  *atomic.Pointer[hostRelay]
}

// guestSide reports whether a lies on the guest's side of the link.
func (p *policy) guestSide(a netip.Addr) bool {
	if p.isGateway(a) || p.isRelayed(a) {
		return false
	}
	if p.cfg.Subnet4.Contains(a) || p.cfg.hasIPv6() && p.cfg.Subnet6.Contains(a) {
		return true
	}
	for _, b := range p.behind {
		if b.Contains(a) {
			return true
		}
	}
	return false
}

func (p *policy) isGateway(a netip.Addr) bool {
	return a.IsValid() && (a == p.cfg.Gateway4 || a == p.cfg.Gateway6)
}

// target maps the destination that the guest named to the one on the host;
// false means that the guest has no business there.
func (p *policy) target(to netip.AddrPort) (netip.AddrPort, bool) {
	a := to.Addr().Unmap()
	switch {
	case to.Port() == 0, !a.IsValid():
		return netip.AddrPort{}, false
	case p.isGateway(a):
		if to.Port() == dnsPort { // the resolver's, which is not set or is closing
			return netip.AddrPort{}, false
		}
		if a.Is4() {
			return netip.AddrPortFrom(p.cfg.Host4, to.Port()), true
		}
		return netip.AddrPortFrom(p.cfg.Host6, to.Port()), true
	case p.guestSide(a), p.isRelayed(a), !worldly(a):
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, to.Port()), true
}

// worldly reports whether a is an address that a packet may leave the host
// for. The rest would reach the host itself past its loopback rules, a cloud's
// metadata service, or nothing.
func worldly(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 240 // this network (RFC 1122), class E and broadcast
	}
	if m := metadata6(); slices.Contains(m[:], a) {
		return false
	}
	b := a.As16()
	for _, x := range b[:12] {
		if x != 0 {
			return true
		}
	}
	return false // an IPv4-compatible address (RFC 4291 section 2.5.5.1)
}

// metadata6 are the metadata services of clouds (EC2, Compute Engine) that are
// not link-local: what they tell is meant for the host.
func metadata6() [2]netip.Addr {
	return [2]netip.Addr{
		netip.AddrFrom16([16]byte{0xfd, 0, 0x0e, 0xc2, 14: 2, 15: 0x54}),
		netip.AddrFrom16([16]byte{0xfd, 0x20, 0, 0xce, 14: 2, 15: 0x54}),
	}
}

// admit decides on the network header of a frame. Sources must be the guest's
// or behind it. ARP is answered for the gateway, and the host's interface, alone: with spoofing on, the
// stack would answer for every address, the guest's own included.
func (p *policy) admit(proto tcpip.NetworkProtocolNumber, b []byte) bool {
	switch proto {
	case header.IPv4ProtocolNumber:
		// A loopback destination the stack would drop too, but say so on stderr.
		return len(b) >= header.IPv4MinimumSize && b[16] != 127 && p.guestSide(netip.AddrFrom4([4]byte(b[12:16])))
	case header.IPv6ProtocolNumber:
		if !p.cfg.hasIPv6() || len(b) < header.IPv6MinimumSize {
			return false
		}
		a := netip.AddrFrom16([16]byte(b[8:24]))
		if a.Is4In6() || a == gatewayLinkLocal() {
			return false
		}
		return (a.IsUnspecified() || a.IsLinkLocalUnicast() || p.guestSide(a)) && p.admitNDP(b)
	case header.ARPProtocolNumber:
		return len(b) >= header.ARPSize &&
			binary.BigEndian.Uint16(b[6:]) == uint16(header.ARPRequest) &&
			p.answersFor(netip.AddrFrom4([4]byte(b[24:28])))
	}
	return false
}

// answersFor reports whether the gateway's MAC is a's.
func (p *policy) answersFor(a netip.Addr) bool { return p.isGateway(a) || p.isRelayed(a) }

// admitNDP passes, of neighbour discovery, the question for the gateway alone.
func (p *policy) admitNDP(b []byte) bool {
	if b[6] != uint8(header.ICMPv6ProtocolNumber) || len(b) <= header.IPv6MinimumSize {
		return true
	}
	switch header.ICMPv6Type(b[header.IPv6MinimumSize]) {
	case header.ICMPv6NeighborSolicit:
		const target = header.IPv6MinimumSize + 8 // RFC 4861 section 4.3
		if len(b) < target+16 {
			return false
		}
		a := netip.AddrFrom16([16]byte(b[target : target+16]))
		return p.answersFor(a) || a == gatewayLinkLocal()
	case header.ICMPv6RouterSolicit, header.ICMPv6RouterAdvert, header.ICMPv6NeighborAdvert, header.ICMPv6RedirectMsg:
		return false
	}
	return true
}

// gatewayLinkLocal is the gateway's address in IPv6's link-local prefix, the
// one that the guest's default route names.
func gatewayLinkLocal() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1})
}

func linkLocalPrefix() netip.Prefix { return netip.PrefixFrom(gatewayLinkLocal(), 64).Masked() }
