package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// route is a domain that the host asks elsewhere.
type route struct {
	domain string // canonical; "" is every name
	order  int
	up     upstreams
}

// parseResolverFile reads a file of /etc/resolver, whose name is the domain
// (resolver(5) of macOS). ok is false for one that names no server.
func parseResolverFile(name, text string) (r route, ok bool) {
	r = route{domain: canonical(name), up: upstreams{timeout: defaultTimeout, attempts: defaultAttempts}}
	port := uint16(dnsPort)
	for line := range strings.Lines(text) {
		f := confFields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "domain":
			r.domain = canonical(f[1])
		case "nameserver":
			if a, ok := parseDottedServer(f[1]); ok && len(r.up.servers) < maxServers {
				r.up.servers = append(r.up.servers, a)
			}
		case "port":
			if n, err := strconv.ParseUint(f[1], 10, 16); err == nil && n > 0 {
				port = uint16(n)
			}
		case "search_order":
			if n, err := strconv.Atoi(f[1]); err == nil {
				r.order = n
			}
		case "timeout":
			if n, err := strconv.Atoi(f[1]); err == nil && n > 0 {
				r.up.timeout = min(time.Duration(min(n, 60))*time.Second, longestTimeout)
			}
		case "options":
			for _, o := range f[1:] {
				r.up.option(o)
			}
		}
	}
	for i, s := range r.up.servers {
		if s.Port() == 0 { // the port of the file, whichever line came first
			r.up.servers[i] = netip.AddrPortFrom(s.Addr(), port)
		}
	}
	return r, len(r.up.servers) > 0
}

// parseDottedServer takes an address and, after one more dot, its port, which
// is 0 when there is none.
func parseDottedServer(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0), true
	}
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddr(s[:i])
	n, perr := strconv.ParseUint(s[i+1:], 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err == nil && perr == nil && n > 0
}
