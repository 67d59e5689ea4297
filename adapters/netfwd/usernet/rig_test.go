package usernet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketPair returns what Serve takes, and the guest's side of it as a datagram
// socket that carries one frame per message.
func socketPair(t testing.TB, framing Framing) (a, b *net.UnixConn) {
	if framing == Datagram {
		return pairOf(t, unix.SOCK_DGRAM)
	}
	a, hypervisor := pairOf(t, unix.SOCK_STREAM)
	frames, b := pairOf(t, unix.SOCK_DGRAM)
	plugCard(t, hypervisor, frames)
	return a, b
}

func pairOf(t testing.TB, typ int) (a, b *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	require.NoError(t, err)
	var cs [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		cs[i] = c.(*net.UnixConn)
	}
	return cs[0], cs[1]
}

// rig is a Network, and as its guest a second one with the two roles of the
// addresses exchanged and the whole world behind its peer.
type rig struct {
	n, g *Network
}

type echoResolver struct{}

func (echoResolver) Resolve(_ context.Context, q []byte, via domain.Protocol) ([]byte, error) {
	return append([]byte(via+":"), q...), nil
}

func newRig(t testing.TB, framing Framing, change func(*Config)) *rig {
	return newTappedRig(t, framing, change, nil)
}

// newTappedRig shows each frame to the guest to tap.
func newTappedRig(t testing.TB, framing Framing, change func(*Config), tap func(frame []byte)) *rig {
	cfg := DefaultConfig()
	cfg.Framing, cfg.MTU = framing, 9000
	cfg.DNS = echoResolver{}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	require.NoError(t, err)

	gc := DefaultConfig()
	gc.Framing, gc.MTU = Datagram, cfg.MTU
	gc.Gateway4, gc.Guest4 = cfg.Guest4, cfg.Gateway4
	gc.Gateway6, gc.Guest6, gc.Subnet6 = cfg.Guest6, cfg.Gateway6, cfg.Subnet6
	gc.GatewayMAC, gc.GuestMAC = cfg.GuestMAC, cfg.GatewayMAC
	gc.Behind = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	if gc.hasIPv6() {
		gc.Behind = append(gc.Behind, netip.MustParsePrefix("::/0"))
	}
	g, err := build(gc) // New would refuse such a route
	require.NoError(t, err)

	a, b := socketPair(t, framing)
	if tap != nil {
		from, to := b, (*net.UnixConn)(nil)
		to, b = socketPair(t, Datagram)
		go relay(from, to, tap)
		go relay(to, from, func([]byte) {})
		t.Cleanup(func() { from.Close(); to.Close() }) // a datagram socket does not see its peer go
	}
	ended := make(chan error, 2)
	go func() { ended <- n.Serve(context.Background(), a) }()
	go func() { ended <- g.Serve(context.Background(), b) }()
	waitUp(t, n)
	waitUp(t, g)
	waitDriver(t, n)
	t.Cleanup(func() {
		done := make(chan struct{})
		go func() { n.Close(); g.Close(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			panic("Close hangs") // shows every goroutine
		}
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	})
	return &rig{n: n, g: g}
}

func waitUp(t testing.TB, n *Network) {
	require.Eventually(t, func() bool {
		n.link.mu.Lock()
		defer n.link.mu.Unlock()
		return n.link.wire != nil
	}, 5*time.Second, time.Millisecond)
}

func bothFramings(t *testing.T, f func(t *testing.T, framing Framing)) {
	t.Run("vhost-user", func(t *testing.T) { f(t, VhostUser) })
	t.Run("datagram", func(t *testing.T) { f(t, Datagram) })
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func soon() time.Time { return time.Now().Add(5 * time.Second) }

func listenHost(t testing.TB, address string) (*net.TCPListener, uint16) {
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener), uint16(ln.Addr().(*net.TCPAddr).Port)
}

// outbound is a connection from the guest to a server on the host's loopback.
func (r *rig) outbound(t testing.TB) (guest *Conn, host *net.TCPConn) {
	ln, p := listenHost(t, "127.0.0.1:0")
	guest, err := r.g.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Gateway4, p))
	require.NoError(t, err)
	host, err = ln.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { guest.Close(); host.Close() })
	return guest, host
}

// inbound is a connection from the host's side to a server in the guest.
func (r *rig) inbound(t testing.TB) (host *Conn, guest *gonet.TCPConn) {
	ln := r.listenGuest(t, 80)
	host, err := r.n.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Guest4, 80))
	require.NoError(t, err)
	c, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { host.Close(); c.Close() })
	return host, c.(*gonet.TCPConn)
}

func (r *rig) listenGuest(t testing.TB, port uint16) *gonet.TCPListener {
	addr, proto := toFull(netip.AddrPortFrom(r.n.cfg.Guest4, port))
	ln, err := gonet.ListenTCP(r.g.stack, addr, proto)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Shutdown(); ln.Close() })
	return ln
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

// relay copies frames until one of the two ends, and then ends both.
func relay(from, to *net.UnixConn, tap func([]byte)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, maxFrame)
	for {
		k, err := from.Read(buf)
		if err != nil {
			return
		}
		tap(buf[:k])
		if _, err = to.Write(buf[:k]); err != nil {
			return
		}
	}
}
