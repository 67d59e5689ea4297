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
	for _, p := range prefixes {
		a := p.Addr()
		switch {
		case !p.IsValid() || a.Is4In6():
			return fmt.Errorf("route to %s: not a prefix: %w", p, domain.ErrInvalid)
		case a.Is4() && p.Bits() < minBits4, a.Is6() && p.Bits() < minBits6:
			return fmt.Errorf("route to %s: too wide: %w", p, domain.ErrInvalid)
		case !worldly(a):
			return fmt.Errorf("route to %s: cannot lie behind the guest: %w", p, domain.ErrInvalid)
		case a.Is6() && !cfg.hasIPv6():
			return fmt.Errorf("route to %s: the network has no IPv6: %w", p, domain.ErrInvalid)
		}
	}
	return nil
}

func (n *Network) setBehind(prefixes []netip.Prefix) error {
	p := &policy{cfg: &n.cfg, behind: slices.Clone(prefixes)}
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
