package agent

import (
	"fmt"
	"net/netip"
	"regexp"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// The bounds of what a guest may ask for at once; the agent has the same.
const (
	maxLeases    = 4096
	maxListeners = 4096
)

var (
	leaseID     = regexp.MustCompile(`^[0-9A-Za-z-]{1,32}$`)
	containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func checkID(id string) error {
	if !leaseID.MatchString(id) {
		return fmt.Errorf("the guest agent named a lease %.40q: %w", id, domain.ErrProtocol)
	}
	return nil
}

// toLeases takes over a snapshot. It fails as a whole: what a part of it left
// out would be closed.
func toLeases(m *agentv1.ForwardSnapshot) ([]port.ForwardLease, error) {
	if len(m.GetLeases()) > maxLeases {
		return nil, fmt.Errorf("the guest agent has %d leases, more than %d: %w", len(m.GetLeases()), maxLeases, domain.ErrProtocol)
	}
	seen := map[string]bool{}
	leases := make([]port.ForwardLease, 0, len(m.GetLeases()))
	for _, l := range m.GetLeases() {
		if err := checkID(l.GetId()); err != nil {
			return nil, err
		}
		if seen[l.GetId()] {
			return nil, fmt.Errorf("the guest agent has lease %s twice: %w", l.GetId(), domain.ErrProtocol)
		}
		seen[l.GetId()] = true
		lease, err := toLease(l)
		if err != nil {
			return nil, err
		}
		leases = append(leases, lease)
	}
	return leases, nil
}

// toLease takes over a lease with a good id, if its rule makes sense.
func toLease(m *agentv1.ForwardLease) (port.ForwardLease, error) {
	protocol, err := toProtocol(m.GetProtocol())
	if err != nil {
		return port.ForwardLease{}, err
	}
	host, err := toEndpoint("host", m.GetHostIp(), m.GetHostPort())
	if err != nil {
		return port.ForwardLease{}, err
	}
	if host.Addr().IsMulticast() {
		return port.ForwardLease{}, fmt.Errorf("%s is no address to listen on: %w", host.Addr(), domain.ErrInvalid)
	}
	target, err := toEndpoint("container", m.GetContainerIp(), m.GetContainerPort())
	if err != nil {
		return port.ForwardLease{}, err
	}
	if !guestSide(target.Addr()) {
		return port.ForwardLease{}, fmt.Errorf("%s is no container's address: %w", target.Addr(), domain.ErrInvalid)
	}
	return port.ForwardLease{ID: m.GetId(), Rule: domain.ForwardRule{Protocol: protocol, Host: host, Target: target}}, nil
}

// guestSide says whether a can be a container's address. An engine's networks
// may have any prefix; that this one leads into the guest and nowhere else is
// up to the link, which dials it.
func guestSide(a netip.Addr) bool {
	return a.IsGlobalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func toEndpoint(whose string, ip []byte, port uint32) (netip.AddrPort, error) {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("the %s address has %d bytes: %w", whose, len(ip), domain.ErrInvalid)
	}
	if port == 0 || port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%s port %d is not one: %w", whose, port, domain.ErrInvalid)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
}

func toProtocol(p agentv1.ForwardProtocol) (domain.Protocol, error) {
	switch p {
	case agentv1.ForwardProtocol_FORWARD_PROTOCOL_TCP:
		return domain.TCP, nil
	case agentv1.ForwardProtocol_FORWARD_PROTOCOL_UDP:
		return domain.UDP, nil
	case agentv1.ForwardProtocol_FORWARD_PROTOCOL_UNSPECIFIED:
	}
	return "", fmt.Errorf("protocol %d of a port is not known: %w", p, domain.ErrInvalid)
}

// toListeners takes over the listening sockets that make sense.
func toListeners(m *agentv1.GuestListeners) ([]domain.GuestListener, error) {
	if len(m.GetListeners()) > maxListeners {
		return nil, fmt.Errorf("the guest agent has %d listeners, more than %d: %w", len(m.GetListeners()), maxListeners, domain.ErrProtocol)
	}
	var out []domain.GuestListener
	for _, l := range m.GetListeners() {
		protocol, err := toProtocol(l.GetProtocol())
		addr, addrErr := toEndpoint("listener's", l.GetIp(), l.GetPort())
		if err != nil || addrErr != nil || addr.Addr().IsMulticast() || !containerID.MatchString(l.GetContainer()) {
			continue
		}
		out = append(out, domain.GuestListener{
			Container: l.GetContainer(), Protocol: protocol, Addr: addr,
			DualStack: l.GetDualStack() && addr.Addr() == netip.IPv6Unspecified(),
		})
	}
	return out, nil
}
