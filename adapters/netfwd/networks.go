// Package netfwd makes the host side of a machine's network: the user-mode
// network of package usernet behind a socket whose other end is the
// hypervisor's.
package netfwd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/application/port"
	"arcbox/domain"
)

// Options describes the networks to make. The zero value is 10.0.2.0/24 with
// an IPv6 prefix beside it and no resolver.
type Options struct {
	// Subnet is the guest's IPv4 network; Gateway, in it, defaults to its first
	// address and Guest to the next one.
	Subnet         netip.Prefix
	Gateway, Guest netip.Addr
	// NoIPv6 leaves the IPv6 prefix away.
	NoIPv6 bool
	// MTU is the largest packet, bytes; 0 is 65520.
	MTU int
	// Behind are prefixes that lie behind the guest; nil is the container pools
	// 172.16.0.0/12 and, with IPv6, fd0a:bc:1::/48.
	Behind []netip.Prefix
	// Framing is what the hypervisor speaks: VhostUser for QEMU, Datagram for macOS.
	Framing usernet.Framing
	// Resolver answers on port 53 of the gateway; nil refuses it.
	Resolver port.Resolver
	// Attach, when not nil, runs beside the default machine's network and may
	// connect an interface of the host to it (usernet.Network.Relay). It ends with
	// its context, which is no later than the network.
	Attach func(context.Context, *usernet.Network)
	// Log receives what ends a network; nil discards it.
	Log *slog.Logger
}

// Networks makes networks; it implements port.Networks. Its methods may be
// called from any goroutine.
type Networks struct {
	cfg    usernet.Config
	attach func(context.Context, *usernet.Network)
	log    *slog.Logger
}

var _ port.Networks = (*Networks)(nil)

// New checks o. The error wraps domain.ErrInvalid.
func New(o Options) (*Networks, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	cfg.DNS, cfg.Log = o.Resolver, o.Log
	// What usernet has against cfg should be said now and not when a machine boots.
	n, err := usernet.New(cfg)
	if err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Networks{cfg: cfg, attach: o.Attach, log: log}, n.Close()
}

func (o Options) config() (usernet.Config, error) {
	cfg := usernet.DefaultConfig()
	cfg.Framing = o.Framing
	if o.MTU != 0 {
		cfg.MTU = o.MTU
	}
	if o.Subnet.IsValid() {
		if !o.Subnet.Addr().Is4() || o.Subnet.Bits() > 30 {
			return cfg, fmt.Errorf("network subnet %s: an IPv4 prefix of at most /30 is needed: %w", o.Subnet, domain.ErrInvalid)
		}
		cfg.Subnet4 = o.Subnet.Masked()
		cfg.Gateway4 = cfg.Subnet4.Addr().Next()
		cfg.Guest4 = cfg.Gateway4.Next()
	}
	if o.Gateway.IsValid() {
		cfg.Gateway4 = o.Gateway
		if cfg.Guest4 = cfg.Subnet4.Addr().Next(); cfg.Guest4 == cfg.Gateway4 {
			cfg.Guest4 = cfg.Guest4.Next()
		}
	}
	if o.Guest.IsValid() {
		cfg.Guest4 = o.Guest
	}
	if o.Behind != nil {
		cfg.Behind = o.Behind
	}
	if o.NoIPv6 {
		cfg.Subnet6, cfg.Gateway6, cfg.Guest6 = netip.Prefix{}, netip.Addr{}, netip.Addr{}
		cfg.Behind = onlyIPv4(cfg.Behind)
	}
	return cfg, nil
}

func onlyIPv4(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}

// Open makes the network of one run of the machine; the caller closes it. The
// link is a *Link.
func (n *Networks) Open(name domain.MachineName) (port.NetworkLink, error) {
	a, err := attach(n.cfg.Framing, n.cfg.SocketBuffer)
	if err != nil {
		return nil, fmt.Errorf("open the network of machine %s: %w", name, err)
	}
	un, err := usernet.New(n.cfg)
	if err != nil {
		a.close()
		a.file.Close()
		return nil, fmt.Errorf("open the network of machine %s: %w", name, err)
	}
	life, end := context.WithCancel(context.Background())
	l := &Link{cfg: n.cfg, net: un, file: a.file, detach: a.close, end: end}
	log := n.log.With("machine", string(name))
	l.serving.Go(func() { a.serve(log, un) })
	// There is one interface on the host, and the machines have the same addresses.
	if n.attach != nil && name == domain.DefaultMachine {
		l.serving.Go(func() { n.attach(life, un) })
	}
	return l, nil
}
