package domain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Protocol is the transport of a forward.
type Protocol string

// Protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// ForwardRule says that a port of the host leads to a port of a container. It
// is comparable: two equal rules are the same rule.
type ForwardRule struct {
	Protocol Protocol
	// Host is where the host listens. An unspecified address means every
	// address of its own family only: 0.0.0.0 all of IPv4, :: all of IPv6.
	Host netip.AddrPort
	// Target is the container's own address and port.
	Target netip.AddrPort
	// Owner is the full id of the container.
	Owner string
}

// String is how a rule is shown to the user.
func (r ForwardRule) String() string {
	return fmt.Sprintf("%s/%s -> %s", r.Host, r.Protocol, r.Target)
}

// PortBinding is a published port as an engine reports it: the container port
// with its protocol ("80/tcp"; tcp when it is left out), and the host side.
type PortBinding struct {
	Port     string
	HostIP   string
	HostPort string
}

// ForwardRules translates the bindings of one container at the address target.
// An empty host IP means every address, as for the engine, and becomes two
// rules, 0.0.0.0 and ::. The result is sorted and free of duplicates. A
// binding that cannot be forwarded fails the whole: ErrUnsupported for sctp,
// ErrInvalid for anything malformed, for ranges, and for a host port that the
// engine has not chosen yet.
func ForwardRules(owner string, target netip.Addr, bindings []PortBinding) ([]ForwardRule, error) {
	if !target.IsValid() || target.IsUnspecified() {
		return nil, fmt.Errorf("forwards of container %q: %s is no container address: %w", owner, target, ErrInvalid)
	}
	var rules []ForwardRule
	for _, b := range bindings {
		proto, port, err := parseContainerPort(b.Port)
		if err != nil {
			return nil, err
		}
		hostPort, err := parseHostPort(b)
		if err != nil {
			return nil, err
		}
		ips, err := parseHostIP(b)
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			rules = append(rules, ForwardRule{
				Protocol: proto,
				Host:     netip.AddrPortFrom(ip, hostPort),
				Target:   netip.AddrPortFrom(target.Unmap(), port),
				Owner:    owner,
			})
		}
	}
	slices.SortFunc(rules, compareRules)
	return slices.Compact(rules), nil
}

func parseContainerPort(s string) (Protocol, uint16, error) {
	port, name, found := strings.Cut(s, "/")
	if !found {
		name = string(TCP)
	}
	p := Protocol(strings.ToLower(name))
	switch p {
	case TCP, UDP:
	case "sctp":
		return "", 0, fmt.Errorf("container port %q: sctp cannot be forwarded, only tcp and udp: %w", s, ErrUnsupported)
	default:
		return "", 0, fmt.Errorf("container port %q: unknown protocol %q: %w", s, name, ErrInvalid)
	}
	n, err := parsePort(port)
	if err != nil {
		return "", 0, fmt.Errorf("container port %q: %w", s, err)
	}
	return p, n, nil
}

func parseHostPort(b PortBinding) (uint16, error) {
	if b.HostPort == "" || b.HostPort == "0" {
		return 0, fmt.Errorf("container port %q has no host port yet: %w", b.Port, ErrInvalid)
	}
	n, err := parsePort(b.HostPort)
	if err != nil {
		return 0, fmt.Errorf("host port %q: %w", b.HostPort, err)
	}
	return n, nil
}

func parsePort(s string) (uint16, error) {
	if strings.Contains(s, "-") {
		return 0, fmt.Errorf("a range is not one port: %w", ErrInvalid)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("want a number from 1 to 65535: %w", ErrInvalid)
	}
	return uint16(n), nil
}

func parseHostIP(b PortBinding) ([]netip.Addr, error) {
	s := b.HostIP
	if s == "" {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return nil, fmt.Errorf("host address %q of container port %q is no IP address: %w", b.HostIP, b.Port, ErrInvalid)
	}
	return []netip.Addr{ip.Unmap()}, nil
}

// DiffForwards says what to do to get from the actual rules to the desired
// ones: open are missing, closed are too many. A rule whose target or owner
// changed is in both, so close before opening. Order and duplicates of the
// arguments do not matter; the results are sorted.
func DiffForwards(desired, actual []ForwardRule) (open, closed []ForwardRule) {
	return without(desired, actual), without(actual, desired)
}

func without(a, b []ForwardRule) []ForwardRule {
	seen := make(map[ForwardRule]bool, len(a)+len(b))
	for _, r := range b {
		seen[r] = true
	}
	var out []ForwardRule
	for _, r := range a {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	slices.SortFunc(out, compareRules)
	return out
}

func compareRules(a, b ForwardRule) int {
	return cmp.Or(
		a.Host.Compare(b.Host),
		cmp.Compare(a.Protocol, b.Protocol),
		a.Target.Compare(b.Target),
		cmp.Compare(a.Owner, b.Owner),
	)
}

// Overlaps says whether listeners of two rules cannot be open side by side:
// same protocol and port, and the same address or one of them all addresses of
// the other's family. Some systems let a listener on one address steal from a
// listener on all of them, so that is a conflict everywhere.
func (r ForwardRule) Overlaps(o ForwardRule) bool {
	if r.Protocol != o.Protocol || r.Host.Port() != o.Host.Port() {
		return false
	}
	a, b := r.Host.Addr(), o.Host.Addr()
	if a.Is4() != b.Is4() {
		return false
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// ForwardHeld is the ErrConflict of a rule whose port another of ours holds.
// container is the name of the holder's container, "" for its Owner.
func ForwardHeld(rule, holder ForwardRule, container string) error {
	who := "another container"
	switch {
	case container != "":
		who = "container " + container
	case holder.Owner != "":
		who = fmt.Sprintf("container %.12s", holder.Owner)
	}
	err := fmt.Errorf("port %s/%s is already allocated by %s of %s: %w", rule.Host, rule.Protocol, holder.Host, who, ErrConflict)
	return WithHint(err, "publish another host port, or stop the container that holds this one")
}
