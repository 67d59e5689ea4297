package tun

import (
	"fmt"
	"net/netip"
	"strings"

	"arcbox/domain"
)

// Overlap is a route of the host that leads elsewhere in a prefix of ours.
type Overlap struct {
	Route  Route
	Prefix netip.Prefix
}

// String names the two.
func (o Overlap) String() string { return fmt.Sprintf("%s overlaps %s", o.Route, o.Prefix) }

// Overlaps returns the routes that share an address with prefixes: whichever is
// narrower would take it from the other. Default routes do not count (nor do
// the halves of one, as VPNs set them), nor those through our own device.
func Overlaps(routes []Route, prefixes []netip.Prefix) []Overlap {
	var found []Overlap
	for _, r := range routes {
		if r.Device == Device || !r.Prefix.IsValid() || r.Prefix.Bits() <= 1 {
			continue
		}
		for _, p := range prefixes {
			if p.Overlaps(r.Prefix) {
				found = append(found, Overlap{r, p})
				break // one is enough to name
			}
		}
	}
	return found
}

func overlapError(found []Overlap, prefixes []netip.Prefix) error {
	texts := make([]string, len(found))
	guest := false
	for i, o := range found {
		texts[i] = o.String()
		guest = guest || o.Prefix.IsSingleIP()
	}
	err := fmt.Errorf("the host has routes of its own there: %s: %w", strings.Join(texts, "; "), domain.ErrConflict)
	if guest {
		return domain.WithHint(err, "choose another network for the guest with network.subnet in the configuration")
	}
	free := Free(prefixes, found)
	if len(free) == 0 {
		return domain.WithHint(err, "remove that network from the host")
	}
	flags := make([]string, len(free))
	for i, p := range free {
		flags[i] = "--pool " + p.String()
	}
	return domain.WithHint(err, "remove that network from the host, or leave it out with "+strings.Join(flags, " ")+
		"; containers in the rest are then not reached by address")
}

// Free returns what is left of the networks among prefixes when found is taken
// out of them, in the widest parts.
func Free(prefixes []netip.Prefix, found []Overlap) []netip.Prefix {
	var left []netip.Prefix
	for _, p := range prefixes {
		if !p.IsSingleIP() {
			left = append(left, p)
		}
	}
	for _, o := range found {
		var next []netip.Prefix
		for _, p := range left {
			next = appendWithout(next, p, o.Route.Prefix)
		}
		left = next
	}
	return left
}

// appendWithout appends p without hole, in halves.
func appendWithout(out []netip.Prefix, p, hole netip.Prefix) []netip.Prefix {
	if !p.Overlaps(hole) {
		return append(out, p)
	}
	if hole.Bits() <= p.Bits() {
		return out
	}
	low, high := halves(p)
	return appendWithout(appendWithout(out, low, hole), high, hole)
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	low = netip.PrefixFrom(p.Addr(), bits)
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits)
}
