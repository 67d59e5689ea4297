package domain

import (
	"net/netip"
	"strings"
)

// Asks says whether a requested binding is what rule was made of: an empty host
// address is every address, an empty or 0 host port any, and either port may be
// a range. A binding that cannot be read asks for nothing.
func (b PortBinding) Asks(rule ForwardRule) bool {
	port, proto, found := strings.Cut(b.Port, "/")
	if !found {
		proto = string(TCP)
	}
	return strings.EqualFold(proto, string(rule.Protocol)) &&
		portsInclude(port, rule.Target.Port()) &&
		(b.HostPort == "" || b.HostPort == "0" || portsInclude(b.HostPort, rule.Host.Port())) &&
		b.hostIncludes(rule.Host.Addr())
}

func (b PortBinding) hostIncludes(a netip.Addr) bool {
	if b.HostIP == "" {
		return true
	}
	ips, err := parseHostIP(b)
	return err == nil && ips[0] == a
}

// portsInclude reads a port or a range "first-last".
func portsInclude(s string, n uint16) bool {
	low, high, isRange := strings.Cut(s, "-")
	first, err := parsePort(low)
	if err != nil {
		return false
	}
	last := first
	if isRange {
		if last, err = parsePort(high); err != nil {
			return false
		}
	}
	return first <= n && n <= last
}

// Requests says whether rule can be one of the container's published ports.
func (f ContainerFacts) Requests(rule ForwardRule) bool {
	for _, b := range f.Requested {
		if b.Asks(rule) {
			return true
		}
	}
	return false
}

// TwinOf says whether rule is the :: half of a port that is published on every
// address and whose 0.0.0.0 half is o. Engines ask for both, one after the other.
func (r ForwardRule) TwinOf(o ForwardRule) bool {
	return r.Host.Addr() == netip.IPv6Unspecified() && o.Host.Addr() == netip.IPv4Unspecified() &&
		r.Protocol == o.Protocol && r.Host.Port() == o.Host.Port() && r.Target.Port() == o.Target.Port()
}

// Check returns ErrInvalid for a rule that no listener can serve. Guests send
// rules, so nothing of one is taken for granted.
func (r ForwardRule) Check() error {
	host, target := r.Host, r.Target
	switch {
	case r.Protocol != TCP && r.Protocol != UDP:
		return invalidRule(r, "the protocol is neither tcp nor udp")
	case !host.IsValid() || host.Port() == 0 || host.Addr().IsMulticast() || host.Addr().Is4In6():
		return invalidRule(r, "no address and port of the host")
	case !target.IsValid() || target.Port() == 0 || target.Addr().Is4In6():
		return invalidRule(r, "no address and port of a container")
	case target.Addr().IsUnspecified() || target.Addr().IsLoopback() || target.Addr().IsMulticast() || target.Addr().Zone() != "":
		return invalidRule(r, "a container cannot have that address")
	}
	return nil
}
