package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"arcbox/domain"
)

// forward asks the upstreams in turn, round by round, and returns the first
// answer as it came, under the query's identifier.
func forward(ctx context.Context, up upstreams, query []byte, q *dns.Msg, via domain.Protocol) ([]byte, error) {
	if len(up.servers) == 0 {
		return nil, fmt.Errorf("resolve %s: the host has no resolver: %w", q.Question[0].Name, domain.ErrUnavailable)
	}
	var failed []byte // an upstream's own word that it cannot answer
	var last error
	for range up.attempts {
		for _, server := range up.servers {
			answer, m, err := askServer(ctx, server, up.timeout, query, q, via)
			if ctx.Err() != nil && err != nil {
				return nil, fmt.Errorf("resolve %s: %w", q.Question[0].Name, ctx.Err())
			}
			if err != nil {
				last = err
				continue
			}
			switch m.Rcode {
			case dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
				failed = answer // the next one may know more
				continue
			}
			return answer, nil
		}
		if failed != nil { // it has been heard; asking the same again only takes time
			return failed, nil
		}
	}
	return nil, fmt.Errorf("resolve %s: %w", q.Question[0].Name, last)
}

// askServer puts the question to one server: by TCP when its sender did, or when the
// answer does not fit a datagram but fits the sender's.
func askServer(ctx context.Context, server netip.AddrPort, timeout time.Duration, query []byte, q *dns.Msg, via domain.Protocol) ([]byte, *dns.Msg, error) {
	if via == domain.TCP {
		return exchange(ctx, server, timeout, query, q, domain.TCP)
	}
	answer, m, err := exchange(ctx, server, timeout, query, q, domain.UDP)
	if err != nil || !m.Truncated && len(answer) <= room(q, via) {
		return answer, m, err
	}
	if full, fm, err := exchange(ctx, server, timeout, query, q, domain.TCP); err == nil && len(full) <= room(q, via) {
		return full, fm, nil
	}
	if len(answer) > room(q, via) { // more than the server was allowed to send
		cut := new(dns.Msg).SetReply(q)
		cut.Rcode, cut.Truncated = m.Rcode&0xf, true // the sender may know no EDNS
		if answer, err = pack(cut, q, via); err != nil {
			return nil, nil, err
		}
	}
	return answer, m, nil // the sender comes back by TCP
}

// exchange sends the query under an identifier of its own from a port of its
// own, which together are what an attacker off the path has to guess (RFC 5452
// section 4), and returns the first message that answers it.
func exchange(ctx context.Context, server netip.AddrPort, timeout time.Duration, query []byte, q *dns.Msg, via domain.Protocol) ([]byte, *dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, string(via), server.String()) // connected: the kernel drops other senders
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	out := append([]byte(nil), query...)
	if _, err := rand.Read(out[:2]); err != nil {
		return nil, nil, err
	}
	id := binary.BigEndian.Uint16(out)
	read := datagrams(c)
	if via == domain.TCP {
		read = messages(c)
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
	}
	if _, err := c.Write(out); err != nil {
		return nil, nil, err
	}
	for {
		b, err := read()
		if err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("no answer of resolver %s: %w", server, domain.ErrTimeout)
			}
			return nil, nil, err
		}
		var m dns.Msg
		// A truncated message may end in the middle of a record: its header and
		// question have been unpacked by then.
		if err := m.Unpack(b); err != nil && !m.Truncated {
			continue
		}
		if m.Id != id || !m.Response || !sameQuestion(m.Question, q.Question) {
			continue
		}
		copy(b, query[:2])
		return b, &m, nil
	}
}

func sameQuestion(a, b []dns.Question) bool {
	return len(a) == 1 && len(b) == 1 && a[0].Qtype == b[0].Qtype && a[0].Qclass == b[0].Qclass &&
		strings.EqualFold(a[0].Name, b[0].Name)
}

// datagrams reads answers of a UDP socket.
func datagrams(c net.Conn) func() ([]byte, error) {
	buf := make([]byte, dns.MaxMsgSize)
	return func() ([]byte, error) {
		n, err := c.Read(buf)
		return buf[:n], err
	}
}

// messages reads answers of a TCP connection.
func messages(c net.Conn) func() ([]byte, error) {
	return func() ([]byte, error) {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		_, err := io.ReadFull(c, b)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return b, err
	}
}
