package usernet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"

	"arcbox/domain"
)

// SetBehind replaces the prefixes that are reached through the guest. It may
// be called at any time; flows that are open go on. The error wraps
// domain.ErrInvalid for a prefix that would take the world, the host's
// loopback or the like away from the host; nothing is changed then.
func (n *Network) SetBehind(prefixes []netip.Prefix) error {
	if err := checkBehind(&n.cfg, prefixes); err != nil {
		return err
	}
	return n.setBehind(prefixes)
}

// The widest prefixes that can be a container network's. Anything wider is a
// mistake that would cut the guest off.
const minBits4, minBits6 = 8, 16

func checkBehind(cfg *Config, prefixes []netip.Prefix) error {
	bad := func(p netip.Prefix, why string) error {
		return fmt.Errorf("route to %s: %s: %w", p, why, domain.ErrInvalid)
	}
	for _, p := range prefixes {
		a := p.Addr()
		switch {
		case !p.IsValid() || a.Is4In6():
			return bad(p, "not a prefix")
		case p.Bits() == 0:
			return bad(p, "it is the whole world")
		case a.Is4() && p.Bits() < minBits4, a.Is6() && p.Bits() < minBits6:
			return bad(p, "too wide")
		case !worldly(a):
			return bad(p, "cannot lie behind the guest")
		case a.Is6() && !cfg.hasIPv6():
			return bad(p, "the network has no IPv6")
		case p.Overlaps(cfg.Subnet4) || cfg.hasIPv6() && p.Overlaps(cfg.Subnet6):
			return bad(p, "it overlaps the network of the guest itself")
		}
		for _, f := range neverBehind() {
			if p.Overlaps(f) {
				return bad(p, "it overlaps "+f.String()+", which cannot lie behind the guest")
			}
		}
	}
	return nil
}

// neverBehind are the prefixes whose addresses mean the host itself, one of its
// links, or many hosts.
func neverBehind() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.IPv4Unspecified(), 8),                         // this network (RFC 1122)
		netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),                   // loopback
		netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254}), 16),             // link-local
		netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 3),                   // multicast, class E and broadcast
		netip.PrefixFrom(netip.IPv6Unspecified(), 96),                        // loopback, IPv4-compatible
		netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), 96), // IPv4-mapped
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10),         // link-local
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8),                // multicast
	}
}

func (n *Network) setBehind(prefixes []netip.Prefix) error {
	p := &policy{cfg: &n.cfg, behind: slices.Clone(prefixes), relay: &n.relay}
	via := append([]netip.Prefix{n.cfg.Subnet4}, p.behind...)
	if n.cfg.hasIPv6() {
		via = append(via, n.cfg.Subnet6, linkLocalPrefix())
	}
	// All that the stack sends goes to the guest. The table only says which
	// destinations make sense, so that a dial elsewhere fails at once.
	routes := make([]tcpip.Route, 0, len(via))
	for _, v := range via {
		mask := net.CIDRMask(v.Bits(), v.Addr().BitLen())
		subnet, err := tcpip.NewSubnet(toAddr(v.Masked().Addr()), tcpip.MaskFromBytes(mask))
		if err != nil {
			return fmt.Errorf("route to %s: %w: %w", v, err, domain.ErrInvalid)
		}
		routes = append(routes, tcpip.Route{Destination: subnet, NIC: nicID})
	}
	n.mu.Lock() // keeps the two in step when callers race
	defer n.mu.Unlock()
	n.policy.Store(p)
	n.stack.SetRouteTable(routes)
	return nil
}
