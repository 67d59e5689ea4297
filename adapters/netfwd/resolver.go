package netfwd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

// Names is a table of local names.
type Names interface {
	// Lookup returns the addresses of name, which is lower-case and has no dot
	// at its end; false for a name that does not exist. It must not wait.
	Lookup(name string) ([]netip.Addr, bool)
}

// ResolverOptions describes a Resolver; Gateways is required.
type ResolverOptions struct {
	// Domain is what is answered from Names alone; "" is arcbox.local.
	Domain string
	// Names may be nil.
	Names Names
	// Gateways are the addresses that lead to the host.
	Gateways []netip.Addr
	// Upstreams replaces the servers of ResolvConf; port 0 is 53.
	Upstreams []netip.AddrPort
	// ResolvConf and Hosts are the host's files; "" is the one in /etc.
	ResolvConf, Hosts string
	// Deadline bounds one query over all its upstreams; 0 is 8 s, within the two
	// tries of five seconds that a guest's resolver makes.
	Deadline time.Duration
}

// Resolver answers the guest's DNS queries: names that mean the host, local
// names, the host's own hosts file, and for the rest what the host's resolvers
// say, byte by byte. It implements usernet.Resolver, keeps no connection open
// and needs no closing.
type Resolver struct {
	domain     string
	names      Names
	gateways   []netip.Addr
	fixed      []netip.AddrPort
	resolvConf watchedFile[upstreams]
	hosts      watchedFile[hostsTable]
	deadline   time.Duration
}

var _ usernet.Resolver = (*Resolver)(nil)

const (
	defaultDomain   = "arcbox.local"
	defaultDeadline = 8 * time.Second
	localTTL        = 300 // seconds, of names that mean the host
	changingTTL     = 5   // seconds, of names that come and go
)

// NewResolver checks o; the error wraps domain.ErrInvalid.
func NewResolver(o ResolverOptions) (*Resolver, error) {
	r := &Resolver{
		domain: canonical(o.Domain), names: o.Names,
		gateways: slices.Clone(o.Gateways), fixed: slices.Clone(o.Upstreams),
		resolvConf: watchedFile[upstreams]{path: o.ResolvConf, parse: parseResolvConf},
		hosts:      watchedFile[hostsTable]{path: o.Hosts, parse: parseHosts},
		deadline:   o.Deadline,
	}
	if r.domain == "" {
		r.domain = defaultDomain
	}
	if _, ok := dns.IsDomainName(r.domain); !ok {
		return nil, fmt.Errorf("network domain %q: not a domain name: %w", o.Domain, domain.ErrInvalid)
	}
	if len(r.gateways) == 0 {
		return nil, fmt.Errorf("resolver without a gateway address: %w", domain.ErrInvalid)
	}
	for i, u := range r.fixed {
		if !u.Addr().IsValid() {
			return nil, fmt.Errorf("upstream resolver %s: no address: %w", u, domain.ErrInvalid)
		}
		if u.Port() == 0 {
			r.fixed[i] = netip.AddrPortFrom(u.Addr(), dnsPort)
		}
	}
	if r.resolvConf.path == "" {
		r.resolvConf.path = "/etc/resolv.conf"
	}
	if r.hosts.path == "" {
		r.hosts.path = "/etc/hosts"
	}
	if r.deadline <= 0 {
		r.deadline = defaultDeadline
	}
	return r, nil
}

// Resolve answers one query in wire format. The error wraps domain.ErrInvalid
// for bytes that deserve no answer; upstreams that fail are a SERVFAIL.
func (r *Resolver) Resolve(ctx context.Context, query []byte, via usernet.Transport) ([]byte, error) {
	var q dns.Msg
	if err := q.Unpack(query); err != nil {
		return formatError(query)
	}
	if q.Response {
		return nil, fmt.Errorf("DNS message is no query: %w", domain.ErrInvalid)
	}
	if q.Opcode != dns.OpcodeQuery {
		return pack(new(dns.Msg).SetRcode(&q, dns.RcodeNotImplemented), &q, via)
	}
	if len(q.Question) != 1 {
		return pack(new(dns.Msg).SetRcodeFormatError(&q), &q, via)
	}
	if m := r.local(&q); m != nil {
		return pack(m, &q, via)
	}
	ctx, cancel := context.WithTimeout(ctx, r.deadline)
	defer cancel()
	answer, err := r.forward(ctx, query, &q, via)
	if err != nil {
		return pack(new(dns.Msg).SetRcode(&q, dns.RcodeServerFailure), &q, via)
	}
	return answer, nil
}

// local answers what no upstream is asked for; nil for the rest.
func (r *Resolver) local(q *dns.Msg) *dns.Msg {
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	name := canonical(question.Name)
	switch name {
	case "host.docker.internal", "gateway.docker.internal":
		return addressAnswer(q, r.gateways, localTTL)
	}
	if name == r.domain || strings.HasSuffix(name, "."+r.domain) {
		if r.names != nil {
			if addrs, ok := r.names.Lookup(name); ok {
				return addressAnswer(q, addrs, changingTTL)
			}
		}
		return new(dns.Msg).SetRcode(q, dns.RcodeNameError)
	}
	if question.Qtype != dns.TypeA && question.Qtype != dns.TypeAAAA {
		return nil
	}
	addrs, ok := r.hosts.get()[name]
	if !ok {
		return nil
	}
	return addressAnswer(q, r.seenByGuest(name, addrs), changingTTL)
}

// seenByGuest translates the host's view of its own names: a loopback address
// means the host, and for the guest that is the gateway.
func (r *Resolver) seenByGuest(name string, addrs []netip.Addr) []netip.Addr {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 section 6.3
		return addrs
	}
	var out []netip.Addr
	for _, a := range addrs {
		if !a.IsLoopback() {
			out = append(out, a)
			continue
		}
		for _, g := range r.gateways {
			if g.Is4() == a.Is4() {
				out = append(out, g)
			}
		}
	}
	return out
}

// addressAnswer answers A and AAAA from addrs; another type, or a family that
// the name has no address of, is NODATA (RFC 2308 section 2.2).
func addressAnswer(q *dns.Msg, addrs []netip.Addr, ttl uint32) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	question := q.Question[0]
	seen := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		a = a.Unmap()
		if seen[a] {
			continue
		}
		seen[a] = true
		h := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	return m
}

// pack finishes an answer of our own to q: EDNS if q had it (RFC 6891 section
// 6.1.1), and no more bytes than q's sender takes.
func pack(m, q *dns.Msg, via usernet.Transport) ([]byte, error) {
	m.RecursionAvailable = true
	if q.IsEdns0() != nil {
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	m.Truncate(room(q, via))
	b, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack a DNS answer: %w", err)
	}
	return b, nil
}

// room is the largest answer that q's sender takes, bytes.
func room(q *dns.Msg, via usernet.Transport) int {
	if via == usernet.TCP {
		return dns.MaxMsgSize
	}
	if o := q.IsEdns0(); o != nil {
		return max(int(o.UDPSize()), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}

// headerLen is RFC 1035's: identifier, flags and four counts.
const headerLen = 12

// formatError answers what cannot be parsed, with what its header says.
func formatError(query []byte) ([]byte, error) {
	const responseBit, opcodeBits, recursionDesired = 0x80, 0x78, 0x01 // RFC 1035 section 4.1.1
	if len(query) < headerLen || query[2]&responseBit != 0 {
		return nil, fmt.Errorf("DNS message of %d bytes is no query: %w", len(query), domain.ErrInvalid)
	}
	b := make([]byte, headerLen)
	copy(b, query[:2])
	b[2] = responseBit | query[2]&(opcodeBits|recursionDesired)
	b[3] = dns.RcodeFormatError
	return b, nil
}
