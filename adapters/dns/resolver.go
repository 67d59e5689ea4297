// Package dns answers the names of containers, for the guest and for the host:
// from the one table of names, from the host's own files, and for the rest
// from what the host itself asks.
package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"arcbox/application/port"
	"arcbox/domain"
)

// View says by whom the answers of a Resolver are read, and so which addresses
// mean the host.
type View struct {
	host []netip.Addr
	// onHost leaves the host's loopback addresses as they are.
	onHost bool
}

// GuestView is what the guest sees: the host is behind its gateway's addresses.
func GuestView(gateways ...netip.Addr) View { return View{host: slices.Clone(gateways)} }

// HostView is what programs on the host see.
func HostView() View {
	return View{host: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, onHost: true}
}

// Options describes a Resolver; View is required.
type Options struct {
	View View
	// Domain is answered from Names alone; "" is arcbox.local. Nothing under it
	// is ever asked of an upstream.
	Domain string
	// Names may be nil.
	Names port.Names
	// Pools hold the addresses of containers: who has one is answered from Names
	// alone. nil is domain.ContainerPools.
	Pools []netip.Prefix
	// Upstreams replaces the host's resolvers; port 0 is 53.
	Upstreams []netip.AddrPort
	// Own are addresses at which this program answers; none of them is ever an
	// upstream.
	Own []netip.AddrPort
	// ResolvConf and Hosts are the host's files; "" is the one in /etc.
	ResolvConf, Hosts string
	// ResolverDir has a file for each domain that the host asks elsewhere
	// (resolver(5) of macOS); "" is none.
	ResolverDir string
	// Deadline bounds one query over all its upstreams; 0 is 8 s, within the two
	// tries of five seconds that a guest's resolver makes.
	Deadline time.Duration
}

// Resolver answers DNS queries; it implements port.Resolver. It keeps no
// connection open, holds no lock while it waits, and needs no closing.
type Resolver struct {
	view      View
	domain    string // without a dot at its end
	names     port.Names
	pools     []netip.Prefix
	upstreams sources
	hosts     watchedFile[hostsTable]
	deadline  time.Duration
}

var _ port.Resolver = (*Resolver)(nil)

const (
	defaultDomain   = "arcbox.local"
	defaultDeadline = 8 * time.Second
)

// New checks o; the error wraps domain.ErrInvalid.
func New(o Options) (*Resolver, error) {
	if o.Domain == "" {
		o.Domain = defaultDomain
	}
	name, err := domain.ParseDomain(o.Domain)
	if err != nil {
		return nil, err
	}
	if len(o.View.host) == 0 {
		return nil, fmt.Errorf("resolver without an address of the host: %w", domain.ErrInvalid)
	}
	if o.Pools == nil {
		o.Pools = domain.ContainerPools()
	}
	upstreams, err := newSources(o)
	if err != nil {
		return nil, err
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	if o.Deadline <= 0 {
		o.Deadline = defaultDeadline
	}
	return &Resolver{view: o.View, domain: name, names: o.Names, pools: slices.Clone(o.Pools), upstreams: upstreams,
		hosts: watchedFile[hostsTable]{path: o.Hosts, parse: parseHosts}, deadline: o.Deadline}, nil
}

// Resolve implements port.Resolver. Upstreams that fail are a SERVFAIL and not
// an error.
func (r *Resolver) Resolve(ctx context.Context, query []byte, via domain.Protocol) ([]byte, error) {
	answer, q, err := r.answer(query, via)
	if q == nil {
		return answer, err
	}
	return r.ask(ctx, query, q, via)
}

// answer answers at once what needs no upstream. For the rest it returns the
// query, which ask then answers.
func (r *Resolver) answer(query []byte, via domain.Protocol) ([]byte, *dns.Msg, error) {
	done := func(b []byte, err error) ([]byte, *dns.Msg, error) { return b, nil, err }
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		return done(formatError(query))
	}
	if q.Response {
		return done(nil, fmt.Errorf("DNS message is no query: %w", domain.ErrInvalid))
	}
	if q.Opcode != dns.OpcodeQuery {
		return done(pack(new(dns.Msg).SetRcode(q, dns.RcodeNotImplemented), q, via))
	}
	if len(q.Question) != 1 {
		return done(pack(new(dns.Msg).SetRcodeFormatError(q), q, via))
	}
	if m := r.local(q); m != nil {
		if o := q.IsEdns0(); o != nil && o.Version() != 0 { // RFC 6891 section 6.1.3
			m = new(dns.Msg).SetRcode(q, dns.RcodeBadVers)
		}
		return done(pack(m, q, via))
	}
	return nil, q, nil
}

// ask has upstreams answer q.
func (r *Resolver) ask(ctx context.Context, query []byte, q *dns.Msg, via domain.Protocol) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	answer, err := forward(ctx, r.upstreams.of(canonical(q.Question[0].Name)), query, q, via)
	if err != nil {
		return pack(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure), q, via)
	}
	return answer, nil
}
