package netfwd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/application/port"
	"arcbox/domain"
)

// The containers of the fake guest. Who is not among them refuses.
var (
	container4 = netip.MustParseAddrPort("172.17.0.2:80")
	container6 = netip.MustParseAddrPort("[fd0a:bc:1::2]:80")
	blackHole  = netip.MustParseAddrPort("172.17.0.99:80")
	nobody     = netip.MustParseAddrPort("172.17.0.77:80")
)

// forwardRig is a link with a guest whose containers are servers on the host's
// loopback: the guest is a second network of ours with the two roles exchanged.
type forwardRig struct {
	*Link
	guest *usernet.Network

	mu         sync.Mutex
	containers map[string]func(ctx context.Context, network string) (net.Conn, error)
}

func newForwardRig(t testing.TB, limits forwardLimits) *forwardRig {
	n, err := New(Options{})
	require.NoError(t, err)
	nl, err := n.Open("default")
	require.NoError(t, err)
	l := nl.(*Link)
	l.forwards.limits = limits
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	r := &forwardRig{Link: l, containers: make(map[string]func(context.Context, string) (net.Conn, error))}

	c := guestSide(t, l)
	cfg := l.cfg
	cfg.Framing = usernet.Datagram
	cfg.Gateway4, cfg.Guest4, cfg.Gateway6, cfg.Guest6 = cfg.Guest4, cfg.Gateway4, cfg.Guest6, cfg.Gateway6
	cfg.GatewayMAC, cfg.GuestMAC = cfg.GuestMAC, cfg.GatewayMAC
	cfg.DNS, cfg.Behind = nil, nil
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == blackHole.String() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		r.mu.Lock()
		dial := r.containers[network+address]
		r.mu.Unlock()
		if dial == nil {
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, network)
	}
	r.guest, err = usernet.New(cfg)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- r.guest.Serve(context.Background(), c) }()
	t.Cleanup(func() {
		require.NoError(t, r.guest.Close())
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { // until both ends are up
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := l.DialTCP(ctx, nobody)
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 5*time.Second, time.Millisecond)
	return r
}

func (r *forwardRig) contain(network string, at netip.AddrPort, dial func(context.Context, string) (net.Conn, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.containers[network+at.String()] = dial
}

// listen makes a TCP server of a container.
func (r *forwardRig) listen(t testing.TB, at netip.AddrPort) *net.TCPListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	r.contain("tcp", at, func(ctx context.Context, network string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	})
	return ln.(*net.TCPListener)
}

// serve has f called with each connection of a container, in goroutines that
// the test waits for.
func (r *forwardRig) serve(t testing.TB, at netip.AddrPort, f func(*net.TCPConn)) {
	ln := r.listen(t, at)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
}

func echoTCP(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

// echoUDP is a UDP server of a container that answers with what it got.
func (r *forwardRig) echoUDP(t testing.TB, at netip.AddrPort) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(buf[:k], from)
		}
	}()
	r.contain("udp", at, func(ctx context.Context, network string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, pc.LocalAddr().String())
	})
}

// forward opens a free port of address and closes it with the test.
func (r *forwardRig) forward(t testing.TB, p domain.Protocol, address string, target netip.AddrPort) (port.Forward, netip.AddrPort) {
	for range 20 {
		host := netip.AddrPortFrom(netip.MustParseAddr(address), freePort(t, p, address))
		f, err := r.Forward(context.Background(), domain.ForwardRule{Protocol: p, Host: host, Target: target})
		if errors.Is(err, domain.ErrConflict) {
			continue // somebody else was quicker
		}
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
		return f, host
	}
	t.Fatal("no free port")
	return nil, netip.AddrPort{}
}

// freePort returns a port that nobody has, on any address.
func freePort(t testing.TB, p domain.Protocol, address string) uint16 {
	a := netip.AddrPortFrom(netip.MustParseAddr(address), 0)
	if p == domain.TCP {
		ln, err := net.Listen(familyNetwork(p, a.Addr()), a.String())
		require.NoError(t, err)
		defer ln.Close()
		return uint16(ln.Addr().(*net.TCPAddr).Port)
	}
	pc, err := net.ListenPacket(familyNetwork(p, a.Addr()), a.String())
	require.NoError(t, err)
	defer pc.Close()
	return uint16(pc.LocalAddr().(*net.UDPAddr).Port)
}

func dialHost(t testing.TB, host netip.AddrPort) *net.TCPConn {
	c, err := net.DialTimeout("tcp", host.String(), 5*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(soon()))
	return c.(*net.TCPConn)
}

// flow is a connection through f with both ends in hand.
func flow(t testing.TB, ln *net.TCPListener, host netip.AddrPort) (client, server *net.TCPConn) {
	client = dialHost(t, host)
	require.NoError(t, ln.SetDeadline(soon()))
	server, err := ln.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	require.NoError(t, server.SetDeadline(soon()))
	return client, server
}

func soon() time.Time { return time.Now().Add(10 * time.Second) }

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7/3 + i>>9)
	}
	return b
}

func requireNoFlows(t testing.TB, f port.Forward) {
	t.Helper()
	require.Eventually(t, func() bool { return f.Stats().Flows == 0 }, 10*time.Second, time.Millisecond)
}

func requireEcho(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	require.NoError(t, c.SetDeadline(soon()))
	_, err := c.Write(b)
	require.NoError(t, err)
	got := make([]byte, 65536)
	var k int
	if _, stream := c.(*net.TCPConn); stream {
		k, err = io.ReadFull(c, got[:len(b)])
	} else {
		k, err = c.Read(got)
	}
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, got[:k]), "%d of %d bytes came back", k, len(b))
}
