package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"arcbox/domain"
)

// Seconds for which an answer may be kept.
const (
	hostTTL     = 300 // names that mean the host
	changingTTL = 5   // names that come and go, and that there is none
)

// hostName is what the host is called; it is a name under the domain too, as
// long as no container has it.
const hostName = "host"

// meansHost are names of the host that every container engine for desktops has.
func meansHost(name string) bool {
	return name == hostName || name == "host.docker.internal" || name == "gateway.docker.internal"
}

// local answers what no upstream is asked for; nil for the rest.
func (r *Resolver) local(q *dns.Msg) *dns.Msg {
	question := q.Question[0]
	name := canonical(question.Name)
	switch {
	case question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR:
		return new(dns.Msg).SetRcode(q, dns.RcodeRefused) // one message is not what they are answered with
	case strings.Contains(name, `\`): // a label with a dot or a space in it, which no name of ours has
		if dns.IsSubDomain(r.domain+".", question.Name) {
			return r.unknown(q, r.domain)
		}
		return nil
	}
	under, inside := domain.NameUnder(name, r.domain)
	if question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY {
		if inside || meansHost(name) {
			return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
		}
		return nil
	}
	switch {
	case inside:
		return r.container(q, under)
	case meansHost(name):
		return addresses(q, r.view.host, hostTTL, name)
	case strings.HasSuffix(name, ".arpa"):
		return r.reverse(q, name)
	case name == "localhost" || strings.HasSuffix(name, ".localhost"): // RFC 6761 section 6.3: each one's own
		return addresses(q, HostView().host, hostTTL, name)
	case question.Qtype != dns.TypeA && question.Qtype != dns.TypeAAAA:
		return nil
	}
	if addrs, ok := r.hosts.get()[name]; ok {
		return addresses(q, r.seen(addrs), changingTTL, name)
	}
	return nil
}

// container answers a name under the domain.
func (r *Resolver) container(q *dns.Msg, name string) *dns.Msg {
	if name == "" { // exists, or a resolver would take its absence for that of all below it (RFC 8020)
		m := addresses(q, nil, changingTTL, r.domain)
		if q.Question[0].Qtype == dns.TypeSOA {
			m.Answer, m.Ns = m.Ns, nil
		}
		return m
	}
	if r.names != nil {
		if addrs, ok := r.names.Lookup(name); ok {
			return addresses(q, addrs, changingTTL, r.domain)
		}
	}
	if name == hostName {
		return addresses(q, r.view.host, changingTTL, r.domain)
	}
	return r.unknown(q, r.domain)
}

// reverse answers who has an address; nil for addresses that are not ours.
func (r *Resolver) reverse(q *dns.Msg, name string) *dns.Msg {
	of, ok := parseReverse(name)
	if !ok {
		return nil
	}
	pool := slices.IndexFunc(r.pools, func(p netip.Prefix) bool { return p.Bits() <= of.Bits() && p.Contains(of.Addr()) })
	if !of.IsSingleIP() {
		if pool < 0 {
			return nil
		}
		return addresses(q, nil, changingTTL, name) // there may be names below it
	}
	if r.names != nil {
		if owner, ok := r.names.Reverse(of.Addr()); ok {
			return pointer(q, owner+"."+r.domain+".", changingTTL, name)
		}
	}
	if !r.view.onHost && slices.Contains(r.view.host, of.Addr()) {
		return pointer(q, "host.docker.internal.", hostTTL, name)
	}
	if pool < 0 {
		return nil
	}
	return r.unknown(q, reverseZone(netip.PrefixFrom(of.Addr(), r.pools[pool].Bits())))
}

// seen translates the host's view of its own names: a loopback address means
// the host, and for the guest that is the gateway.
func (r *Resolver) seen(addrs []netip.Addr) []netip.Addr {
	if r.view.onHost {
		return addrs
	}
	var out []netip.Addr
	for _, a := range addrs {
		if !a.IsLoopback() {
			out = append(out, a)
			continue
		}
		for _, h := range r.view.host {
			if h.Is4() == a.Is4() {
				out = append(out, h)
			}
		}
	}
	return out
}

func (r *Resolver) unknown(q *dns.Msg, zone string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
	m.Authoritative = true
	m.Ns = []dns.RR{startOfAuthority(zone)}
	return m
}
