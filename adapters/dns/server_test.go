package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func newTestServer(t *testing.T, r *Resolver, change func(*ServerOptions)) *Server {
	o := ServerOptions{Addr: loopback, Resolver: r, RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond}
	change(&o)
	s, err := NewServer(o)
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, s.Close(ctx))
		require.NoError(t, s.Close(ctx), "again is fine")
	})
	return s
}

// at waits until s answers, and says where.
func (s *Server) at(t *testing.T) string {
	t.Helper()
	require.Eventually(t, func() bool { return s.Status().Listening }, 5*time.Second, time.Millisecond, "%v", s.Status().Err)
	return s.Status().Addr.String()
}

func ask(t *testing.T, network, at string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	m, _, err := c.Exchange(q, at)
	require.NoError(t, err)
	return m
}

func TestServerAnswersClients(t *testing.T) {
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(txt(q, 10)) })
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{172, 18, 1, byte(i)}))
	}
	names := table{}.container("web", addrs("172.18.0.2")...).container("big", many...)
	r := newTestResolver(t, func(o *Options) { o.View, o.Names, o.Upstreams = HostView(), names, []netip.AddrPort{u.at} })
	at := newTestServer(t, r, func(*ServerOptions) {}).at(t)
	for _, network := range []string{"udp", "tcp"} {
		require.Equal(t, addrs("172.18.0.2"), answered(ask(t, network, at, question("web.arcbox.local", dns.TypeA))))
		require.Equal(t, addrs("127.0.0.1"), answered(ask(t, network, at, question("host.docker.internal", dns.TypeA))))
		require.Equal(t, dns.RcodeNameError, ask(t, network, at, question("nope.arcbox.local", dns.TypeA)).Rcode)
		require.Equal(t, "web.arcbox.local.", ask(t, network, at, question("2.0.18.172.in-addr.arpa", dns.TypePTR)).Answer[0].(*dns.PTR).Ptr)
		require.Len(t, ask(t, network, at, question("a.example", dns.TypeTXT)).Answer, 1)
	}
	require.True(t, ask(t, "udp", at, question("big.arcbox.local", dns.TypeA)).Truncated)
	require.Len(t, answered(ask(t, "tcp", at, question("big.arcbox.local", dns.TypeA))), 200)
	wide := question("big.arcbox.local", dns.TypeA)
	wide.SetEdns0(8192, false)
	require.Len(t, answered(ask(t, "udp", at, wide)), 200)

	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			for range 20 {
				c := dns.Client{Timeout: 5 * time.Second}
				m, _, err := c.Exchange(question("web.arcbox.local", dns.TypeA), at)
				if err != nil || len(m.Answer) != 1 {
					t.Errorf("answer %v, error %v", m, err)
				}
			}
		})
	}
	clients.Wait()
}

// stuck is a server whose upstream answers when it is let go.
func stuck(t *testing.T, change func(*ServerOptions)) (s *Server, letGo func()) {
	gone := make(chan struct{})
	letGo = sync.OnceFunc(func() { close(gone) })
	u := newUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { <-gone; w.WriteMsg(txt(q, 10)) })
	t.Cleanup(letGo)
	r := newTestResolver(t, func(o *Options) {
		o.View, o.Upstreams = HostView(), []netip.AddrPort{u.at}
	})
	return newTestServer(t, r, change), letGo
}

// TestSlowUpstreamHoldsNobodyBack: the reference held a lock meanwhile.
func TestSlowUpstreamHoldsNobodyBack(t *testing.T) {
	s, letGo := stuck(t, func(*ServerOptions) {})
	at := s.at(t)
	c, err := net.Dial("tcp", at)
	require.NoError(t, err)
	defer c.Close()
	slow, quick := question("a.example", dns.TypeTXT), question("host", dns.TypeA)
	slow.Id, quick.Id = 1, 2
	co := &dns.Conn{Conn: c}
	require.NoError(t, co.WriteMsg(slow))
	require.NoError(t, co.WriteMsg(quick))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	m, err := co.ReadMsg()
	require.NoError(t, err)
	require.Equal(t, uint16(2), m.Id)
	require.Len(t, answered(ask(t, "udp", at, quick)), 1)
	require.NoError(t, c.(*net.TCPConn).CloseWrite()) // what was asked is answered all the same
	letGo()
	m, err = co.ReadMsg()
	require.NoError(t, err)
	require.Equal(t, uint16(1), m.Id)
	_, err = co.ReadMsg()
	require.ErrorIs(t, err, io.EOF)
}

func TestServerLimits(t *testing.T) {
	s, letGo := stuck(t, func(o *ServerOptions) { o.MaxQueries, o.MaxConns = 3, 2 })
	at := s.at(t)
	c, err := net.Dial("udp", at)
	require.NoError(t, err)
	defer c.Close()
	b, err := question("a.example", dns.TypeTXT).Pack()
	require.NoError(t, err)
	for range 10 {
		_, err := c.Write(b)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return s.Status().Limited == 7 }, 5*time.Second, time.Millisecond)
	for range 5 {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		defer c.Close()
	}
	require.Eventually(t, func() bool { return s.Status().Limited == 10 }, 5*time.Second, time.Millisecond)
	require.Len(t, answered(ask(t, "udp", at, question("host", dns.TypeA))), 1, "local names need no room")
	letGo()
	require.Eventually(t, func() bool { return len(s.queries) == 0 }, 5*time.Second, time.Millisecond)
}

func TestServerEndsBadConnections(t *testing.T) {
	r := newTestResolver(t, func(o *Options) { o.View = HostView() })
	at := newTestServer(t, r, func(o *ServerOptions) { o.IdleTimeout = 50 * time.Millisecond }).at(t)
	for name, b := range map[string][]byte{
		"silent": nil, "half a length": {0}, "half a query": {0, 20, 1}, "no query": {0, 1, 7}, "nothing": {0, 0},
		"an answer": append(binary.BigEndian.AppendUint16(nil, 12), "\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00"...),
	} {
		c, err := net.Dial("tcp", at)
		require.NoError(t, err)
		_, err = c.Write(b)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err, name)
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "%s: still open", name)
		c.Close()
	}
	c, err := net.Dial("udp", at)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("no query"))
	require.NoError(t, err)
	require.Len(t, answered(ask(t, "udp", at, question("host", dns.TypeA))), 1)
}

// TestTakenPort: the reference's daemon died of it.
func TestTakenPort(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			l, err := listen(loopback) // a port that is free by both
			require.NoError(t, err)
			at := l.addr
			var holder, other io.Closer = l.udp, l.tcp
			if network == "tcp" {
				holder, other = other, holder
			}
			require.NoError(t, other.Close())
			var log syncBuffer
			r := newTestResolver(t, func(o *Options) { o.View = HostView() })
			s := newTestServer(t, r, func(o *ServerOptions) { o.Addr, o.Log = at, slog.New(slog.NewTextHandler(&log, nil)) })
			st := s.Status()
			require.False(t, st.Listening)
			require.ErrorIs(t, st.Err, domain.ErrConflict)
			require.Contains(t, domain.Hint(st.Err), "network.dns_port")
			require.Equal(t, at, st.Addr)
			time.Sleep(30 * time.Millisecond) // some tries
			require.NoError(t, holder.Close())
			require.Equal(t, at.String(), s.at(t))
			require.NoError(t, s.Status().Err)
			require.Len(t, answered(ask(t, network, at.String(), question("host", dns.TypeA))), 1)
			require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "said once")
		})
	}
}

// A server whose socket breaks opens another.
func TestBrokenSocket(t *testing.T) {
	r := newTestResolver(t, func(o *Options) { o.View = HostView() })
	s, err := NewServer(ServerOptions{Addr: loopback, Resolver: r, RetryMin: time.Millisecond})
	require.NoError(t, err)
	l, err := listen(loopback)
	require.NoError(t, err)
	s.note(l, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx, l) }()
	require.NoError(t, l.udp.Close())
	require.Eventually(t, func() bool { st := s.Status(); return st.Listening && st.Addr != l.addr }, 5*time.Second, time.Millisecond)
	require.Len(t, answered(ask(t, "udp", s.at(t), question("host", dns.TypeA))), 1)
	cancel()
	<-done
}

func TestServerOptions(t *testing.T) {
	for _, o := range []ServerOptions{{}, {Addr: loopback}, {Resolver: &Resolver{}}} {
		_, err := NewServer(o)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
	s, err := NewServer(ServerOptions{Addr: loopback, Resolver: &Resolver{}})
	require.NoError(t, err)
	require.NoError(t, s.Close(context.Background()), "never started")
	require.False(t, s.Status().Listening)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
