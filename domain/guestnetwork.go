package domain

import "net/netip"

// GuestIPv6 is the IPv6 network between host and guest, beside the IPv4 one
// that the user chooses: unique-local addresses, the same for every machine.
func GuestIPv6() (subnet netip.Prefix, gateway, guest netip.Addr) {
	subnet = netip.MustParsePrefix("fd0a:bc::/64")
	gateway = subnet.Addr().Next()
	return subnet, gateway, gateway.Next()
}
