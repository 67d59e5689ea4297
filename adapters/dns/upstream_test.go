package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is a DNS server on UDP and TCP.
type upstream struct {
	at netip.AddrPort

	mu      sync.Mutex
	queries []*dns.Msg
	via     []string
	ids     map[uint16]bool
	ports   map[string]bool
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.queries)
}

// seen returns the last query, and the transports of all.
func (u *upstream) seen() (last *dns.Msg, via []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.queries[len(u.queries)-1], slices.Clone(u.via)
}

func newUpstream(t *testing.T, answer func(w dns.ResponseWriter, q *dns.Msg)) *upstream {
	u := &upstream{ids: map[uint16]bool{}, ports: map[string]bool{}}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.mu.Lock()
		u.queries, u.via = append(u.queries, q), append(u.via, w.RemoteAddr().Network())
		u.ids[q.Id], u.ports[w.RemoteAddr().String()] = true, true
		u.mu.Unlock()
		answer(w, q)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	pc, err := net.ListenPacket("udp", ln.Addr().String())
	require.NoError(t, err)
	for _, s := range []*dns.Server{{Listener: ln, Handler: h}, {PacketConn: pc, Handler: h}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			require.NoError(t, s.Shutdown())
			require.NoError(t, <-done)
		})
	}
	u.at = ln.Addr().(*net.TCPAddr).AddrPort()
	return u
}

func txt(q *dns.Msg, size int) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	h := dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 7}
	for ; size > 0; size -= 200 {
		m.Answer = append(m.Answer, &dns.TXT{Hdr: h, Txt: []string{strings.Repeat("x", min(size, 200))}})
	}
	return m
}

func rcode(code int) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, code)) }
}

func newTestResolver(t *testing.T, change func(*Options)) *Resolver {
	o := Options{
		View:       GuestView(addrs("10.0.2.1", "fd0a:bc::1")...),
		ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"),
		Hosts:      filepath.Join(t.TempDir(), "hosts"),
		Deadline:   3 * time.Second,
	}
	change(&o)
	r, err := New(o)
	require.NoError(t, err)
	return r
}

func question(name string, qtype uint16) *dns.Msg {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	q.Id = 0x1234
	return q
}

func resolve(t *testing.T, r *Resolver, q *dns.Msg, via domain.Protocol) *dns.Msg {
	t.Helper()
	b, err := q.Pack()
	require.NoError(t, err)
	before := slices.Clone(b)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := r.Resolve(ctx, b, via)
	require.NoError(t, err)
	require.Equal(t, before, b, "the query's bytes are the caller's")
	m := new(dns.Msg)
	require.NoError(t, m.Unpack(answer))
	require.Equal(t, q.Id, m.Id)
	require.True(t, m.Response)
	if len(m.Question) == 1 {
		require.Equal(t, q.Question, m.Question)
	}
	return m
}

func TestForwardPassesBytes(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := txt(q, 100)
		m.AuthenticatedData = true
		m.Answer = append(m.Answer, &dns.RFC3597{ // a type that nobody knows
			Hdr:   dns.RR_Header{Name: q.Question[0].Name, Rrtype: 65400, Class: dns.ClassINET, Ttl: 9},
			Rdata: "00ff17",
		})
		w.WriteMsg(m)
	})
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
	for _, via := range []domain.Protocol{domain.UDP, domain.TCP} {
		q := question("Mixed.Example", dns.TypeTXT)
		q.SetEdns0(1400, true)
		q.CheckingDisabled = true
		m := resolve(t, r, q, via)
		require.True(t, m.AuthenticatedData)
		require.Len(t, m.Answer, 2)
		require.Equal(t, uint32(9), m.Answer[1].Header().Ttl)
		got, _ := u.seen()
		require.Equal(t, uint16(1400), got.IsEdns0().UDPSize())
		require.True(t, got.IsEdns0().Do() && got.CheckingDisabled)
	}
	_, via := u.seen()
	require.Equal(t, []string{"udp", "tcp"}, via)
}

func TestForwardHidesItsQueries(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(txt(q, 10)) })
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
	for range 40 {
		resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	require.Greater(t, len(u.ids), 35, "identifiers are random")
	require.Greater(t, len(u.ports), 35, "each query has its own port")
}

// TestForwardIgnoresForgeries: wrong identifiers and questions, and what is no
// message, come before the answer.
func TestForwardIgnoresForgeries(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		forged := txt(q, 1)
		forged.Id++
		w.WriteMsg(forged)
		forged = txt(q, 1)
		forged.Question[0].Name = "b.example."
		w.WriteMsg(forged)
		forged = txt(q, 1)
		forged.Response = false
		w.WriteMsg(forged)
		if w.RemoteAddr().Network() == "udp" {
			w.Write([]byte{1, 2, 3})
		}
		w.WriteMsg(txt(q, 10))
	})
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
	for _, via := range []domain.Protocol{domain.UDP, domain.TCP} {
		m := resolve(t, r, question("a.example", dns.TypeTXT), via)
		require.Equal(t, strings.Repeat("x", 10), m.Answer[0].(*dns.TXT).Txt[0])
	}
}

func TestForwardTruncation(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := txt(q, 3000)
		if w.RemoteAddr().Network() == "udp" {
			m = new(dns.Msg).SetReply(q)
			m.Truncated = true
		}
		w.WriteMsg(m)
	})
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })

	m := resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP)
	require.True(t, m.Truncated, "more than the guest takes by UDP")
	m = resolve(t, r, question("a.example", dns.TypeTXT), domain.TCP)
	require.False(t, m.Truncated)
	require.Len(t, m.Answer, 15)
	q := question("a.example", dns.TypeTXT)
	q.SetEdns0(8192, false)
	m = resolve(t, r, q, domain.UDP)
	require.False(t, m.Truncated, "fetched by TCP for a guest with room")
	require.Len(t, m.Answer, 15)
}

func TestForwardTriesTheNext(t *testing.T) {
	good := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(txt(q, 10)) })
	for name, bad := range map[string]func(dns.ResponseWriter, *dns.Msg){
		"SERVFAIL": rcode(dns.RcodeServerFailure),
		"REFUSED":  rcode(dns.RcodeRefused),
		"silent":   func(dns.ResponseWriter, *dns.Msg) {},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, bad)
			conf := writeConf(t, "options timeout:1\n", u.at, good.at)
			r := newTestResolver(t, func(o *Options) { o.ResolvConf = conf })
			for _, via := range []domain.Protocol{domain.UDP, domain.TCP} {
				m := resolve(t, r, question("a.example", dns.TypeTXT), via)
				require.Equal(t, dns.RcodeSuccess, m.Rcode)
			}
			require.Equal(t, 2, u.count())
		})
	}
	t.Run("closed port", func(t *testing.T) {
		r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{closedPort(t), good.at} })
		require.Equal(t, dns.RcodeSuccess, resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP).Rcode)
	})
	t.Run("NXDOMAIN is an answer", func(t *testing.T) {
		u := newUpstream(t, rcode(dns.RcodeNameError))
		asked := good.count()
		r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at, good.at} })
		require.Equal(t, dns.RcodeNameError, resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP).Rcode)
		require.Equal(t, asked, good.count())
	})
}

func closedPort(t *testing.T) netip.AddrPort {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer pc.Close()
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func writeConf(t *testing.T, head string, servers ...netip.AddrPort) string {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for _, s := range servers {
		head += "nameserver " + s.String() + "\n"
	}
	require.NoError(t, os.WriteFile(path, []byte(head), 0o600))
	return path
}

func TestForwardWithoutUpstream(t *testing.T) {
	t.Run("nothing listens", func(t *testing.T) {
		r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{closedPort(t)} })
		start := time.Now()
		for _, via := range []domain.Protocol{domain.UDP, domain.TCP} {
			require.Equal(t, dns.RcodeServerFailure, resolve(t, r, question("a.example", dns.TypeA), via).Rcode)
		}
		require.Less(t, time.Since(start), time.Second)
	})
	t.Run("all refuse", func(t *testing.T) {
		u := newUpstream(t, rcode(dns.RcodeRefused))
		r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
		require.Equal(t, dns.RcodeRefused, resolve(t, r, question("a.example", dns.TypeA), domain.UDP).Rcode)
		require.Equal(t, 1, u.count())
	})
	t.Run("deadline", func(t *testing.T) {
		u := newUpstream(t, func(dns.ResponseWriter, *dns.Msg) {})
		r := newTestResolver(t, func(o *Options) { o.Upstreams, o.Deadline = []netip.AddrPort{u.at}, 100*time.Millisecond })
		start := time.Now()
		require.Equal(t, dns.RcodeServerFailure, resolve(t, r, question("a.example", dns.TypeA), domain.UDP).Rcode)
		require.Less(t, time.Since(start), time.Second)
	})
	t.Run("the guest's network closes", func(t *testing.T) {
		u := newUpstream(t, func(dns.ResponseWriter, *dns.Msg) {})
		r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{u.at} })
		b, err := question("a.example", dns.TypeA).Pack()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		_, err = r.Resolve(ctx, b, domain.UDP)
		require.NoError(t, err)
		require.Less(t, time.Since(start), time.Second)
	})
}

func TestResolvConfIsReadAgain(t *testing.T) {
	first := newUpstream(t, rcode(dns.RcodeNameError))
	second := newUpstream(t, rcode(dns.RcodeSuccess))
	conf := writeConf(t, "", first.at)
	r := newTestResolver(t, func(o *Options) { o.ResolvConf = conf })
	require.Equal(t, dns.RcodeNameError, resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP).Rcode)
	require.NoError(t, os.Rename(writeConf(t, "# moved to another network\n", second.at), conf))
	require.Equal(t, dns.RcodeSuccess, resolve(t, r, question("a.example", dns.TypeTXT), domain.UDP).Rcode)
	require.Equal(t, 1, first.count())
}

func TestMalformedQueries(t *testing.T) {
	r := newTestResolver(t, func(o *Options) { o.Upstreams = []netip.AddrPort{closedPort(t)} })
	ctx := context.Background()
	for _, b := range []string{"", "\x12\x34\x01\x00\x00\x01", "\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00"} {
		_, err := r.Resolve(ctx, []byte(b), domain.UDP)
		require.ErrorIs(t, err, domain.ErrInvalid, "%q", b)
	}
	for want, b := range map[int]string{
		dns.RcodeFormatError:    "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x3f", // a label that is cut off
		dns.RcodeNotImplemented: "\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01",
	} {
		a, err := r.Resolve(ctx, []byte(b), domain.UDP)
		require.NoError(t, err)
		var m dns.Msg
		require.NoError(t, m.Unpack(a))
		require.Equal(t, want, m.Rcode)
		require.Equal(t, uint16(0x1234), m.Id)
	}
	a, err := r.Resolve(ctx, []byte("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), domain.UDP) // no question
	require.NoError(t, err)
	require.Equal(t, byte(dns.RcodeFormatError), a[3]&15)
}

func FuzzResolve(f *testing.F) {
	r, err := New(Options{
		View:      GuestView(addrs("10.0.2.1")...),
		Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")},
	})
	require.NoError(f, err)
	for _, name := range []string{"host.docker.internal", "x.arcbox.local", "localhost", "2.0.18.172.in-addr.arpa", `a\.b.arcbox.local`} {
		b, err := question(name, dns.TypeA).Pack()
		require.NoError(f, err)
		f.Add(b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is forwarded
	f.Fuzz(func(t *testing.T, query []byte) {
		answer, err := r.Resolve(ctx, query, domain.UDP)
		if err != nil {
			return
		}
		if len(answer) < headerLen || string(answer[:2]) != string(query[:2]) || answer[2]&0x80 == 0 {
			t.Fatalf("%x answers %x", answer, query)
		}
	})
}
