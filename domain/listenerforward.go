package domain

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// maxGuestListeners bounds what a guest can have the host listen on for it.
const maxGuestListeners = 1024

// ListenerForward is what a container that shares the guest's network wants on
// the host.
type ListenerForward struct {
	Rule ForwardRule
	// Refused says why it cannot be had, "" for one that can.
	Refused string
}

// ListenerForwards translates listening sockets of the guest, whose addresses
// are guest4 and guest6 (which may be invalid), to rules on the host's
// loopback addresses. A socket on every address is reached at the guest's own,
// one on a single address there. A socket on the guest's loopback cannot be
// reached over a network, and is refused. Where two sockets want the same port,
// the one of the same family has it, and then the one whose address is lower.
// The result is sorted and does not depend on the order of the sockets; what is
// malformed is left out.
func ListenerForwards(sockets []GuestListener, guest4, guest6 netip.Addr) []ListenerForward {
	type place struct {
		proto Protocol
		host  netip.AddrPort
	}
	best := map[place]ListenerForward{}
	for _, s := range sockets {
		if !s.valid() {
			continue
		}
		for _, f := range s.forwards(guest4, guest6) {
			at := place{f.Rule.Protocol, f.Rule.Host}
			if have, taken := best[at]; !taken || compareWish(f, have) < 0 {
				best[at] = f
			}
		}
	}
	out := make([]ListenerForward, 0, len(best))
	for _, f := range best {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b ListenerForward) int { return compareRules(a.Rule, b.Rule) })
	return out[:min(len(out), maxGuestListeners)]
}

func (s GuestListener) valid() bool {
	return (s.Protocol == TCP || s.Protocol == UDP) && s.Addr.IsValid() && s.Addr.Port() != 0 &&
		IsContainerID(s.Container) && !s.Addr.Addr().IsMulticast() && !s.Addr.Addr().IsLinkLocalUnicast()
}

// forwards are the wishes of one socket.
func (s GuestListener) forwards(guest4, guest6 netip.Addr) []ListenerForward {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	at := s.Addr.Addr().Unmap().WithZone("")
	wish := func(host, target netip.Addr, refused string) ListenerForward {
		return ListenerForward{Refused: refused, Rule: ForwardRule{Protocol: s.Protocol, Host: netip.AddrPortFrom(host, s.Addr.Port()),
			Target: netip.AddrPortFrom(target, s.Addr.Port()), Owner: s.Container}}
	}
	switch {
	case at.IsLoopback():
		host := v6
		if at.Is4() {
			host = v4
		}
		return []ListenerForward{wish(host, at, "it listens on the loopback of the virtual machine only, which no network reaches; have it listen on 0.0.0.0")}
	case !at.IsUnspecified():
		return []ListenerForward{wish(v4, at, ""), wish(v6, at, "")}
	}
	for4, for6 := guest4, guest6
	switch {
	case at.Is4(), s.DualStack && !guest6.IsValid():
		for6 = guest4
	case !s.DualStack:
		for4 = guest6
	}
	if !for4.IsValid() || !for6.IsValid() {
		host, target := v4, at
		if at.Is6() {
			host = v6
		}
		return []ListenerForward{wish(host, target, "the virtual machine has no address of that family")}
	}
	return []ListenerForward{wish(v4, for4, ""), wish(v6, for6, "")}
}

// compareWish orders wishes for one port of the host, the best first.
func compareWish(a, b ListenerForward) int {
	rank := func(f ListenerForward) int {
		switch {
		case f.Refused != "":
			return 2
		case f.Rule.Target.Addr().Is4() != f.Rule.Host.Addr().Is4():
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), compareRules(a.Rule, b.Rule))
}

// IsContainerID says whether s is the full id of a container: 64 hexadecimal
// digits.
func IsContainerID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
