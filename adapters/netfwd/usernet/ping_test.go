package usernet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	xipv4 "golang.org/x/net/ipv4"
	xipv6 "golang.org/x/net/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	nicmp "gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// fakeWorld is a ping socket whose peers answer at once, after a
// stranger's answer. An address that ends in 99 is silent.
type fakeWorld struct {
	mu      sync.Mutex
	answers chan fakeAnswer
	closed  chan struct{}
	once    sync.Once
	until   time.Time
}

type fakeAnswer struct {
	from netip.Addr
	msg  []byte
}

func newFakeWorld(string) (net.PacketConn, error) {
	return &fakeWorld{answers: make(chan fakeAnswer, 4), closed: make(chan struct{})}, nil
}

func (w *fakeWorld) WriteTo(b []byte, to net.Addr) (int, error) {
	a, _ := netip.AddrFromSlice(to.(*net.UDPAddr).IP)
	proto, reply := 1, icmp.Type(xipv4.ICMPTypeEchoReply)
	if a.Is6() {
		proto, reply = 58, xipv6.ICMPTypeEchoReply
	}
	m, err := icmp.ParseMessage(proto, b)
	if err != nil {
		return 0, err
	}
	m.Type = reply
	m.Body.(*icmp.Echo).ID = 4711 // a ping socket has its own
	answer, err := m.Marshal(nil)
	if err != nil {
		return 0, err
	}
	w.answers <- fakeAnswer{a.Next(), answer}
	if s := a.AsSlice(); s[len(s)-1] != 99 {
		w.answers <- fakeAnswer{a, answer}
	}
	return len(b), nil
}

func (w *fakeWorld) ReadFrom(b []byte) (int, net.Addr, error) {
	w.mu.Lock()
	left := time.Until(w.until)
	w.mu.Unlock()
	select {
	case a := <-w.answers:
		return copy(b, a.msg), &net.UDPAddr{IP: a.from.AsSlice()}, nil
	case <-time.After(left):
		return 0, nil, os.ErrDeadlineExceeded
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w *fakeWorld) SetDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = t
	return nil
}
func (w *fakeWorld) Close() error                     { w.once.Do(func() { close(w.closed) }); return nil }
func (w *fakeWorld) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (w *fakeWorld) SetReadDeadline(time.Time) error  { return nil }
func (w *fakeWorld) SetWriteDeadline(time.Time) error { return nil }

// pinger is a ping socket in the guest.
func (r *rig) pinger(t *testing.T, to netip.Addr) net.Conn {
	proto, transport := ipv4.ProtocolNumber, nicmp.ProtocolNumber4
	if to.Is6() {
		proto, transport = ipv6.ProtocolNumber, nicmp.ProtocolNumber6
	}
	wq := new(waiter.Queue)
	ep, terr := r.g.stack.NewEndpoint(transport, proto, wq)
	require.Nil(t, terr)
	addr, _ := toFull(netip.AddrPortFrom(to, 0))
	require.Nil(t, ep.Connect(addr))
	c := gonet.NewUDPConn(wq, ep)
	t.Cleanup(func() { c.Close() })
	return c
}

func ping(t *testing.T, c net.Conn, to netip.Addr, size int) error {
	request, reply, proto := icmp.Type(xipv4.ICMPTypeEcho), icmp.Type(xipv4.ICMPTypeEchoReply), 1
	if to.Is6() {
		request, reply, proto = xipv6.ICMPTypeEchoRequest, xipv6.ICMPTypeEchoReply, 58
	}
	out, err := (&icmp.Message{Type: request, Body: &icmp.Echo{Seq: 7, Data: pattern(size)}}).Marshal(nil)
	require.NoError(t, err)
	_, err = c.Write(out)
	require.NoError(t, err)
	b := make([]byte, 65536)
	k, err := c.Read(b)
	if err != nil {
		return err
	}
	m, err := icmp.ParseMessage(proto, b[:k])
	require.NoError(t, err)
	require.Equal(t, reply, m.Type)
	require.Equal(t, 7, m.Body.(*icmp.Echo).Seq)
	require.Equal(t, pattern(size), m.Body.(*icmp.Echo).Data)
	return nil
}

func TestPing(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.ListenPing, c.PingTimeout = newFakeWorld, 200*time.Millisecond })
	for _, c := range []struct {
		to       string
		answered bool
	}{
		{"10.0.2.1", true}, // by the stack
		{"fd0a:bc::1", true},
		{"192.0.2.1", true}, // by the world
		{"2001:db8::1", true},
		{"192.0.2.99", false}, // the world does not answer
		{"2001:db8::63", false},
		{"172.17.0.9", false}, // the guest's own side
		{"10.0.2.9", false},
		{"fd0a:bc:1::9", false},
		{"169.254.169.254", false},
		{"fe80::9", false},
	} {
		t.Run(c.to, func(t *testing.T) {
			to := netip.MustParseAddr(c.to)
			p := r.pinger(t, to)
			if !c.answered {
				require.NoError(t, p.SetReadDeadline(time.Now().Add(60*time.Millisecond)))
				require.Error(t, ping(t, p, to, 56))
				return
			}
			require.NoError(t, p.SetReadDeadline(soon()))
			for _, size := range []int{1, 56, 20000} {
				require.NoError(t, ping(t, p, to, size))
			}
		})
	}
}

func TestPingLimit(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.ListenPing, c.MaxPings = newFakeWorld, 2 })
	to := netip.MustParseAddr("192.0.2.99")
	p := r.pinger(t, to)
	require.NoError(t, p.SetReadDeadline(time.Now().Add(-time.Second)))
	for range 5 {
		require.Error(t, ping(t, p, to, 8))
	}
	require.Eventually(t, func() bool { return r.n.Counters().PingLimit == 3 }, 5*time.Second, time.Millisecond)
}

// TestPingForbidden: a host without ping sockets is a world that is silent.
func TestPingForbidden(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) {
		c.ListenPing = func(string) (net.PacketConn, error) { return nil, os.ErrPermission }
	})
	to := netip.MustParseAddr("192.0.2.1")
	p := r.pinger(t, to)
	require.NoError(t, p.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	require.Error(t, ping(t, p, to, 8))
	r.outbound(t)
}

// TestPingSocket asks the host's own loopback through a real ping socket.
func TestPingSocket(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	defer n.Close()
	for network, to := range map[string]string{"udp4": "127.0.0.1", "udp6": "::1"} {
		c, err := n.cfg.ListenPing(network)
		if err != nil {
			t.Skipf("this host gives no ping sockets (net.ipv4.ping_group_range): %v", err)
		}
		c.Close()
		require.True(t, n.exchangeEcho(echo{to: netip.MustParseAddr(to), id: 1, seq: 2, data: []byte("three")}), to)
	}
}
