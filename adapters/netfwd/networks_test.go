package netfwd

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

func open(t *testing.T, o Options) *Link {
	n, err := New(o)
	require.NoError(t, err)
	l, err := n.Open("default")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.(*Link)
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o              Options
		gateway, guest string
	}{
		"defaults":          {Options{}, "10.0.2.1", "10.0.2.2"},
		"subnet":            {Options{Subnet: netip.MustParsePrefix("192.168.77.0/24")}, "192.168.77.1", "192.168.77.2"},
		"gateway elsewhere": {Options{Subnet: netip.MustParsePrefix("192.168.77.0/24"), Gateway: netip.MustParseAddr("192.168.77.254")}, "192.168.77.254", "192.168.77.1"},
		"guest":             {Options{Guest: netip.MustParseAddr("10.0.2.15")}, "10.0.2.1", "10.0.2.15"},
		"no IPv6":           {Options{NoIPv6: true}, "10.0.2.1", "10.0.2.2"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := c.o.config()
			require.NoError(t, err)
			require.Equal(t, c.gateway, cfg.Gateway4.String())
			require.Equal(t, c.guest, cfg.Guest4.String())
			_, err = New(c.o)
			require.NoError(t, err)
		})
	}
	for name, o := range map[string]Options{
		"gateway outside": {Gateway: netip.MustParseAddr("10.0.3.1")},
		"IPv6 subnet":     {Subnet: netip.MustParsePrefix("fd00::/64")},
		"tiny subnet":     {Subnet: netip.MustParsePrefix("10.0.2.0/31")},
		"MTU":             {MTU: 100},
		"behind":          {Behind: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		_, err := New(o)
		require.ErrorIs(t, err, domain.ErrInvalid, name)
	}
}

// TestLink plays the hypervisor on a duplicate of File, as a child process
// would have it, with a second network as the guest.
func TestLink(t *testing.T) {
	for name, framing := range map[string]usernet.Framing{"vhost-user": usernet.VhostUser, "datagram": usernet.Datagram} {
		t.Run(name, func(t *testing.T) {
			l := open(t, Options{MTU: 9000, Framing: framing})
			require.Equal(t, 9000, l.MTU())
			require.Equal(t, usernet.DefaultConfig().GuestMAC, l.MAC())
			g := playGuest(t, l)

			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			p := uint16(ln.Addr().(*net.TCPAddr).Port)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			for _, dial := range []func() (net.Conn, error){
				func() (net.Conn, error) { return l.DialTCP(ctx, netip.AddrPortFrom(l.cfg.Guest4, p)) },
				func() (net.Conn, error) { return g.DialTCP(ctx, netip.AddrPortFrom(l.cfg.Gateway4, p)) },
			} {
				c, err := dial()
				require.NoError(t, err)
				s, err := ln.Accept()
				require.NoError(t, err)
				go func() { s.Write([]byte("hello")); s.Close() }()
				b, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Equal(t, "hello", string(b))
				c.Close()
			}
			require.NotZero(t, l.Counters().RxFrames)

			_, err = l.DialTCP(ctx, netip.MustParseAddrPort("100.99.0.1:80"))
			require.ErrorIs(t, err, unix.ENETUNREACH)
			require.NoError(t, l.SetBehind([]netip.Prefix{netip.MustParsePrefix("100.99.0.0/24")}))
			u, err := l.DialUDP(netip.MustParseAddrPort("100.99.0.1:80"))
			require.NoError(t, err)
			u.Close()
		})
	}
}

// playGuest serves the other end of l with the roles exchanged.
func playGuest(t *testing.T, l *Link) *usernet.Network {
	c := guestSide(t, l)
	cfg := l.cfg
	cfg.Gateway4, cfg.Guest4, cfg.Gateway6, cfg.Guest6 = cfg.Guest4, cfg.Gateway4, cfg.Guest6, cfg.Gateway6
	cfg.GatewayMAC, cfg.GuestMAC = cfg.GuestMAC, cfg.GatewayMAC
	cfg.Framing, cfg.DNS = usernet.Datagram, nil
	g, err := usernet.New(cfg)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(context.Background(), c) }()
	t.Cleanup(func() {
		require.NoError(t, g.Close())
		require.NoError(t, <-ended)
	})
	return g
}

type echo struct{}

func (echo) Resolve(_ context.Context, query []byte, via domain.Protocol) ([]byte, error) {
	return append(append([]byte(nil), query...), via...), nil
}

func TestLinkAsksItsResolver(t *testing.T) {
	l := open(t, Options{Resolver: echo{}})
	g := playGuest(t, l)
	c, err := g.DialUDP(netip.AddrPortFrom(l.cfg.Gateway4, 53))
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool { // the guest may not be up for the first
		c.Write([]byte("query by "))
		c.SetReadDeadline(time.Now().Add(time.Second))
		b := make([]byte, 512)
		k, err := c.Read(b)
		return err == nil && string(b[:k]) == "query by udp"
	}, 5*time.Second, time.Millisecond)
}

func TestFileIsPrivate(t *testing.T) {
	l := open(t, Options{Framing: usernet.Datagram})
	flags, err := unix.FcntlInt(l.File().Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC)
	flags, err = unix.FcntlInt(l.File().Fd(), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.Zero(t, flags&unix.O_NONBLOCK)
}

func TestCloseTwice(t *testing.T) {
	l := open(t, Options{})
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err := l.DialTCP(context.Background(), netip.MustParseAddrPort("10.0.2.2:80"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = l.File().Write([]byte{0})
	require.ErrorIs(t, err, os.ErrClosed)
}
