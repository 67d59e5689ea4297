package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// upstreams is what resolv.conf(5) says of them. search and rotate are the
// asker's own business.
type upstreams struct {
	servers  []netip.AddrPort
	timeout  time.Duration // of one question to one server
	attempts int           // rounds through the servers
}

const (
	dnsPort         = 53
	maxServers      = 8 // glibc stops at 3, other resolvers do not
	defaultTimeout  = 2 * time.Second
	longestTimeout  = 5 * time.Second
	defaultAttempts = 2
	mostAttempts    = 4
)

// parseResolvConf reads a resolv.conf. What it does not understand it leaves
// out, as every resolver does. Without a server it is the host's loopback.
func parseResolvConf(text string) upstreams {
	u := upstreams{timeout: defaultTimeout, attempts: defaultAttempts}
	for line := range strings.Lines(text) {
		f := confFields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, ok := parseServer(f[1]); ok && len(u.servers) < maxServers {
				u.servers = append(u.servers, a)
			}
		case "options":
			for _, o := range f[1:] {
				u.option(o)
			}
		}
	}
	if len(u.servers) == 0 {
		u.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	return u
}

// confFields splits a line, without its comment.
func confFields(line string) []string {
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	return strings.Fields(line)
}

// parseServer takes an address, with or without a port as macOS and
// systemd-resolved write one.
func parseServer(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, ap.Port() != 0
	}
	a, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(a, dnsPort), err == nil
}

func (u *upstreams) option(o string) {
	name, value, ok := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	if !ok || err != nil || n < 1 {
		return
	}
	switch name {
	case "timeout":
		u.timeout = min(time.Duration(min(n, 60))*time.Second, longestTimeout)
	case "attempts":
		u.attempts = min(n, mostAttempts)
	}
}
