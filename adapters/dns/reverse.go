package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseReverse reads a name of the reverse trees (RFC 1035 section 3.5, RFC
// 3596 section 2.5), lower-case and without a dot at its end. A name with fewer
// labels than an address has is a prefix.
func parseReverse(name string) (netip.Prefix, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return parseReverse4(strings.Split(rest, "."))
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return parseReverse6(strings.Split(rest, "."))
	}
	return netip.Prefix{}, false
}

func parseReverse4(labels []string) (netip.Prefix, bool) {
	var b [4]byte
	if len(labels) > len(b) {
		return netip.Prefix{}, false
	}
	slices.Reverse(labels)
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 10, 8)
		if err != nil || strconv.Itoa(int(n)) != l {
			return netip.Prefix{}, false
		}
		b[i] = byte(n)
	}
	return netip.PrefixFrom(netip.AddrFrom4(b), 8*len(labels)), true
}

func parseReverse6(labels []string) (netip.Prefix, bool) {
	var b [16]byte
	if len(labels) > 2*len(b) {
		return netip.Prefix{}, false
	}
	slices.Reverse(labels)
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return netip.Prefix{}, false
		}
		b[i/2] |= byte(n) << (4 * (1 - i%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 4*len(labels)), true
}

// reverseZone is the smallest zone of the reverse trees that holds no more than
// p, as a name.
func reverseZone(p netip.Prefix) string {
	var labels []string
	if p.Addr().Is4() {
		b := p.Addr().As4()
		for _, x := range b[:(p.Bits()+7)/8] {
			labels = append(labels, strconv.Itoa(int(x)))
		}
		labels = append([]string{"arpa", "in-addr"}, labels...)
	} else {
		b := p.Addr().As16()
		for i := range (p.Bits() + 3) / 4 {
			labels = append(labels, strconv.FormatUint(uint64(b[i/2]>>(4*(1-i%2))&0xf), 16))
		}
		labels = append([]string{"arpa", "ip6"}, labels...)
	}
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
