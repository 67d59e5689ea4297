package bootstrap

import (
	"log/slog"
	"net/netip"
	"runtime"

	"go.uber.org/fx"

	"arcbox/adapters/dns"
	"arcbox/application/containers"
	"arcbox/application/port"
	"arcbox/domain"
)

// dnsModule is the resolver of the guest and the server on the host, both over
// the same table of names.
var dnsModule = fx.Module("dns",
	fx.Provide(
		func(n *containers.Names) port.Names { return n },
		func(c Config, names port.Names) (port.Resolver, error) { return dns.New(guestNames(c, names)) },
		newDNSServer,
	),
	fx.Invoke(func(*dns.Server) {}),
)

func newDNSServer(lc fx.Lifecycle, c Config, names port.Names, log *slog.Logger) (*dns.Server, error) {
	r, err := dns.New(hostNames(c, names))
	if err != nil {
		return nil, err
	}
	s, err := dns.NewServer(dns.ServerOptions{Addr: c.Network.dnsAddr(), Resolver: r, Log: log})
	if err != nil || c.Network.DNSPort == 0 {
		return s, err
	}
	lc.Append(fx.StartStopHook(s.Start, s.Close))
	return s, nil
}

// dnsAddr is where the host is answered.
func (n NetworkConfig) dnsAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n.DNSPort)) // checked by resolve
}

// guestNames says what the guest is answered.
func guestNames(c Config, names port.Names) dns.Options {
	_, gateway6, _ := domain.GuestIPv6()
	o := hostNames(c, names)
	o.View = dns.GuestView(c.Network.gateway(), gateway6)
	return o
}

// hostNames says what programs on the host are answered.
func hostNames(c Config, names port.Names) dns.Options {
	o := dns.Options{View: dns.HostView(), Domain: c.Network.Domain, Names: names, Own: []netip.AddrPort{c.Network.dnsAddr()}}
	for _, d := range c.Network.DNS {
		o.Upstreams = append(o.Upstreams, netip.AddrPortFrom(netip.MustParseAddr(d), 53)) // checked by resolve
	}
	if runtime.GOOS == "darwin" {
		o.ResolverDir = "/etc/resolver"
	}
	return o
}
