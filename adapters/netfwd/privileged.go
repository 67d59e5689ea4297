package netfwd

import (
	"fmt"
	"net/netip"
	"runtime"

	"arcbox/domain"
)

// firstFreePort is the first port that needs no privileges, unless the host
// says otherwise (IPPORT_RESERVED).
const firstFreePort = 1024

// bindPlan says where to listen for a forward.
type bindPlan struct {
	at netip.AddrPort
	// only, when it is valid, is the address of the host that peers must have
	// come to; others are turned away.
	only netip.Addr
}

// planBind decides where an operating system lets user uid listen for host.
// macOS reserves ports below 1024 on single addresses, and since 10.14 no more
// on the wildcard address (xnu, in_pcbbind), so there the wildcard address is
// bound and peers of the other ones are turned away.
func planBind(goos string, uid int, host netip.AddrPort) bindPlan {
	if goos != "darwin" || uid == 0 || host.Port() >= firstFreePort || host.Addr().IsUnspecified() {
		return bindPlan{at: host}
	}
	wildcard := netip.IPv4Unspecified()
	if host.Addr().Is6() {
		wildcard = netip.IPv6Unspecified()
	}
	return bindPlan{at: netip.AddrPortFrom(wildcard, host.Port()), only: host.Addr().WithZone("")}
}

// admits reports whether a peer that came to local may go on.
func (p bindPlan) admits(local netip.Addr) bool {
	return !p.only.IsValid() || local.Unmap().WithZone("") == p.only
}

// explainPrivilege is explainBind for a port that the daemon's user may not
// listen on.
func explainPrivilege(rule domain.ForwardRule) error {
	what := fmt.Sprintf("%s/%s", rule.Host, rule.Protocol)
	switch {
	case runtime.GOOS != "linux":
		return domain.WithHint(
			&forwardError{domain.ErrPermission, what + " may be opened by the administrator only"},
			"publish a host port of 1024 or more")
	case rule.Host.Port() >= firstFreePort && rule.Host.Port() >= unprivilegedStart():
		return &forwardError{domain.ErrPermission, what + ": a security policy of this computer forbids ArcBox to listen there"}
	}
	return domain.WithHint(
		&forwardError{domain.ErrPermission, fmt.Sprintf(
			"%s needs privileges on this computer: the setting net.ipv4.ip_unprivileged_port_start reserves ports below %d (allow it with: sudo sysctl net.ipv4.ip_unprivileged_port_start=%d)",
			what, unprivilegedStart(), rule.Host.Port())},
		"allow the port with the sysctl, or publish a higher one")
}
