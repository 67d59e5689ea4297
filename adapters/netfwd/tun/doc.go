// Package tun is the way from the host to the containers' own addresses, on
// Linux: a persistent tun device named arcbox0 that a user owns, with routes to
// the container pools. Installing it needs root, once. After that the user's
// daemon attaches to it without privileges, and moves packets between it and
// the guest.
//
// What to do is planned from the state of the host by pure functions (Plan,
// PlanRemoval, Overlaps); Installer looks and executes. Attacher is the
// daemon's part.
package tun

import (
	"fmt"
	"net/netip"

	"arcbox/domain"
)

const (
	// Device is the interface's name.
	Device = "arcbox0"
	// Alias marks it as ours; nothing without it is touched.
	Alias = "arcbox"
	// MTU is what a device is given, bytes: as the guest's own by default.
	MTU = 65520
)

// Settings are what an installed device shall be.
type Settings struct {
	// Owner is the user who may attach to it.
	Owner uint32
	// MTU is in bytes.
	MTU int
	// Addresses are the host's own on the device, one a family.
	Addresses []netip.Addr
	// Prefixes are what is routed through it.
	Prefixes []netip.Prefix
}

// Networks are the networks that settings are made for.
type Networks struct {
	Subnets []netip.Prefix // between host and guest, one a family
	Guests  []netip.Addr   // the guest's address in each
	Pools   []netip.Prefix // of containers
}

// NewSettings returns the settings for n: the host's address in each subnet
// (HostAddress), and routes to the guest and to the pools, or to only parts of
// them, which must lie in the pools. The error wraps domain.ErrInvalid.
func NewSettings(n Networks, only []netip.Prefix) (Settings, error) {
	s := Settings{MTU: MTU, Prefixes: n.Pools}
	if len(only) > 0 {
		s.Prefixes = nil
	}
	for _, p := range only {
		if !p.IsValid() || p.Masked() != p {
			return Settings{}, fmt.Errorf("pool %s: not the address of a network: %w", p, domain.ErrInvalid)
		}
		if !within(p, n.Pools) {
			return Settings{}, fmt.Errorf("pool %s is not part of the container pools %v: %w", p, n.Pools, domain.ErrInvalid)
		}
		s.Prefixes = append(s.Prefixes, p)
	}
	for i, subnet := range n.Subnets {
		a := HostAddress(subnet)
		if !subnet.Contains(a) || a == n.Guests[i] {
			return Settings{}, fmt.Errorf("subnet %s has no room for the host's address: %w", subnet, domain.ErrInvalid)
		}
		s.Addresses = append(s.Addresses, a)
		// The guest speaks for containers that begin to talk to the host, and for
		// those that cannot be reached.
		s.Prefixes = append(s.Prefixes[:len(s.Prefixes):len(s.Prefixes)], netip.PrefixFrom(n.Guests[i], n.Guests[i].BitLen()))
	}
	return s, nil
}

func within(p netip.Prefix, pools []netip.Prefix) bool {
	for _, pool := range pools {
		if pool.Bits() <= p.Bits() && pool.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// HostAddress is the host's own address in the network between host and guest:
// the last one that a station can have in an IPv4 network, :fe in an IPv6 one.
func HostAddress(subnet netip.Prefix) netip.Addr {
	if subnet.Addr().Is6() {
		b := subnet.Masked().Addr().As16()
		b[15] = 0xfe
		return netip.AddrFrom16(b)
	}
	b := subnet.Masked().Addr().As4()
	for i := subnet.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b).Prev() // the very last is broadcast's
}
