package dns

import (
	"fmt"
	"net/netip"

	"github.com/miekg/dns"

	"arcbox/domain"
)

// addresses answers A, AAAA and both from addrs, each once. Another type, or a
// family that the name has no address of, is NODATA (RFC 2308 section 2.2), and
// zone says how long that may be kept. An NXDOMAIN instead would make resolvers
// that ask for both families give up on the name.
func addresses(q *dns.Msg, addrs []netip.Addr, ttl uint32, zone string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	question := q.Question[0]
	seen := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		a = a.Unmap()
		if seen[a] {
			continue
		}
		seen[a] = true
		h := dns.RR_Header{Name: question.Name, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case a.Is4() && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY):
			h.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
		case a.Is6() && (question.Qtype == dns.TypeAAAA || question.Qtype == dns.TypeANY):
			h.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{startOfAuthority(zone)}
	}
	return m
}

// pointer answers PTR with a fully qualified name, other types with NODATA.
func pointer(q *dns.Msg, to string, ttl uint32, zone string) *dns.Msg {
	m := addresses(q, nil, ttl, zone)
	if t := q.Question[0].Qtype; t == dns.TypePTR || t == dns.TypeANY {
		h := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}
		m.Answer, m.Ns = []dns.RR{&dns.PTR{Hdr: h, Ptr: to}}, nil
	}
	return m
}

// startOfAuthority makes an answer without records one that may be kept, for
// changingTTL (RFC 2308 section 5).
func startOfAuthority(zone string) dns.RR {
	zone = dns.Fqdn(zone)
	return &dns.SOA{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: changingTTL},
		Ns: zone, Mbox: "hostmaster." + zone, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: changingTTL}
}

// ednsSize is the datagram that we take ourselves, bytes: what passes every
// path in one piece (DNS Flag Day 2020).
const ednsSize = 1232

// pack finishes an answer of our own to q: EDNS if q had it (RFC 6891 section
// 6.1.1), and no more bytes than q's sender takes.
func pack(m, q *dns.Msg, via domain.Protocol) ([]byte, error) {
	m.RecursionAvailable = true
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(ednsSize, o.Do())
	}
	m.Truncate(room(q, via))
	b, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack a DNS answer: %w", err)
	}
	return b, nil
}

// maxDatagram is UDP's over IPv4, bytes.
const maxDatagram = 1<<16 - 1 - 20 - 8

// room is the largest answer that q's sender takes, bytes.
func room(q *dns.Msg, via domain.Protocol) int {
	if via == domain.TCP {
		return dns.MaxMsgSize
	}
	if o := q.IsEdns0(); o != nil {
		return min(max(int(o.UDPSize()), dns.MinMsgSize), maxDatagram)
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
