package domain

import (
	"net/netip"
	"slices"
	"strings"
)

// HostName is the name under which a guest and its containers reach the host's
// loopback: the one that Docker Desktop has established.
const HostName = "host.docker.internal"

// loopbackNames are the usual names of loopback addresses in /etc/hosts, beside
// those under "localhost." (RFC 6761).
var loopbackNames = []string{"localhost", "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}

// ForGuest returns p as a guest has to use it. A proxy on the host's loopback is
// named HostName, with the same port and user; others stay as they are. The
// host's own loopback is reached without a proxy on the host, so the guest
// reaches HostName and gateway, an address or "", without one too: the proxy
// knows neither.
func (p Proxy) ForGuest(gateway string) Proxy {
	p.HTTP, p.HTTPS = proxyForGuest(p.HTTP), proxyForGuest(p.HTTPS)
	if !p.Set() {
		return p
	}
	for _, name := range []string{HostName, gateway} {
		if name != "" && !listsHost(p.None, name) {
			p.None = strings.TrimPrefix(strings.TrimRight(p.None, ", ")+","+name, ",")
		}
	}
	return p
}

func proxyForGuest(s string) string {
	u, err := parseProxyURL(s)
	if s == "" || err != nil || !isLoopback(u.Hostname()) {
		return s
	}
	port := u.Port()
	u.Host = HostName
	if port != "" {
		u.Host = HostName + ":" + port
	}
	return u.String()
}

func isLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		return a.IsLoopback() || a.IsUnspecified() // connecting to the latter means the former
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.Contains(loopbackNames, host) || strings.HasSuffix(host, ".localhost")
}

// listsHost says whether a list of exceptions has an entry for exactly this
// host, or for everything.
func listsHost(none, host string) bool {
	for entry := range strings.SplitSeq(none, ",") {
		if entry = strings.TrimSpace(entry); entry == "*" || strings.EqualFold(entry, host) {
			return true
		}
	}
	return false
}
