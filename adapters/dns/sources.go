package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"arcbox/domain"
)

// sources knows whom the host asks for a name.
//
// It is the host that asks, so every server of the host's own configuration is
// right, where a guest that asked by itself would have to leave some out: a
// server on loopback (the stubs of systemd-resolved and dnsmasq, which know the
// routes of a VPN's names, and are therefore preferred to the servers behind
// them), one of IPv6, and the ones in 198.18.0.0/15 of proxies that answer with
// addresses which mean something on the host alone.
type sources struct {
	fixed      []netip.AddrPort
	own        []netip.AddrPort
	resolvConf *watchedFile[upstreams]
	routes     *watchedDir
}

func newSources(o Options) (sources, error) {
	s := sources{fixed: slices.Clone(o.Upstreams), own: slices.Clone(o.Own), routes: &watchedDir{path: o.ResolverDir}}
	for i, u := range s.fixed {
		if !u.Addr().IsValid() {
			return sources{}, fmt.Errorf("upstream resolver %s: no address: %w", u, domain.ErrInvalid)
		}
		if u.Port() == 0 {
			s.fixed[i] = netip.AddrPortFrom(u.Addr(), dnsPort)
		}
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	s.resolvConf = &watchedFile[upstreams]{path: o.ResolvConf, parse: parseResolvConf}
	return s, nil
}

// of returns the upstreams for a name, lower-case and without a dot at its end.
// There may be none.
func (s sources) of(name string) upstreams {
	up := upstreams{servers: s.fixed, timeout: defaultTimeout, attempts: defaultAttempts}
	if len(s.fixed) == 0 {
		var routed bool
		if up, routed = routeOf(name, s.routes.get()); !routed {
			up = s.resolvConf.get()
		}
	}
	up.servers = slices.DeleteFunc(slices.Clone(up.servers), func(a netip.AddrPort) bool {
		return slices.Contains(s.own, reached(a))
	})
	return up
}

// reached is where a connection to a really goes: a host connects to itself by
// way of an unspecified address.
func reached(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	switch {
	case !ip.IsUnspecified():
	case ip.Is4():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, a.Port())
}

// routeOf picks the route with the longest domain that holds name, and of two
// the one with the lower order.
func routeOf(name string, routes []route) (upstreams, bool) {
	best := -1
	for i, r := range routes {
		if r.domain != "" && name != r.domain && !strings.HasSuffix(name, "."+r.domain) {
			continue
		}
		if best < 0 || len(r.domain) > len(routes[best].domain) ||
			len(r.domain) == len(routes[best].domain) && r.order < routes[best].order {
			best = i
		}
	}
	if best < 0 {
		return upstreams{}, false
	}
	return routes[best].up, true
}
