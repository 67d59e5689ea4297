package usernet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7/3 + i>>9)
	}
	return b
}

// requireHalfClose sends to b, ends that direction, and sends the other way.
func requireHalfClose(t *testing.T, a, b HalfCloser) {
	want := pattern(3 << 20)
	for _, d := range []struct{ from, to HalfCloser }{{a, b}, {b, a}} {
		sent := make(chan error, 1)
		go func() {
			_, err := d.from.Write(want)
			sent <- errors.Join(err, d.from.CloseWrite())
		}()
		got, err := io.ReadAll(d.to)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.True(t, bytes.Equal(want, got), "%d bytes arrived", len(got))
	}
}

func TestHalfClose(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		r := newRig(t, f, nil)
		t.Run("guest first", func(t *testing.T) {
			g, h := r.outbound(t)
			requireHalfClose(t, g, h)
		})
		t.Run("host first", func(t *testing.T) {
			g, h := r.outbound(t)
			requireHalfClose(t, h, g)
		})
		t.Run("inbound", func(t *testing.T) {
			h, g := r.inbound(t)
			requireHalfClose(t, h, g)
		})
		require.Eventually(t, func() bool { return r.n.Counters().TCPFlows == 0 }, 5*time.Second, 5*time.Millisecond)
	})
}

func TestIPv6(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	ln, p := listenHost(t, "[::1]:0")
	g, err := r.g.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Gateway6, p))
	require.NoError(t, err)
	defer g.Close()
	h, err := ln.AcceptTCP()
	require.NoError(t, err)
	defer h.Close()
	requireHalfClose(t, g, h)

	// The guest of the rig forwards what is dialled at its own address to the
	// loopback too: that is its server.
	h2, err := r.n.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Guest6, p))
	require.NoError(t, err)
	defer h2.Close()
	g2, err := ln.AcceptTCP()
	require.NoError(t, err)
	defer g2.Close()
	requireHalfClose(t, h2, g2)
}

func TestNoIPv6(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) {
		c.Subnet6, c.Gateway6, c.Guest6 = netip.Prefix{}, netip.Addr{}, netip.Addr{}
		c.Behind = c.Behind[:1]
	})
	g, h := r.outbound(t)
	requireHalfClose(t, g, h)
	_, err := r.n.DialTCP(within(t, time.Second), netip.MustParseAddrPort("[fd0a:bc::2]:80"))
	require.ErrorIs(t, err, syscall.ENETUNREACH)
}

func TestResetBothWays(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	g, h := r.outbound(t)
	require.NoError(t, h.SetLinger(0))
	h.Close()
	g.SetReadDeadline(soon())
	_, err := g.Read(make([]byte, 1))
	require.ErrorContains(t, err, "reset", "the host's reset at the guest")

	g, h = r.outbound(t)
	g.Abort()
	h.SetReadDeadline(soon())
	_, err = h.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "the guest's reset at the host")
}

func TestRefusals(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	})
	// Outside the guest's side of the rig lies the world, so all of these reach the gateway.
	for _, to := range []string{
		"192.0.2.1:9", "10.0.2.77:80", "172.17.0.9:80", "169.254.169.254:80", "0.1.2.3:80",
		"[fd0a:bc:1::5]:80", "[2001:db8::1]:9",
	} {
		start := time.Now()
		_, err := r.g.DialTCP(within(t, 3*time.Second), netip.MustParseAddrPort(to))
		require.ErrorIs(t, err, syscall.ECONNREFUSED, to)
		require.Less(t, time.Since(start), 2*time.Second)
	}
	foreign := r.n.Counters().RxForeign
	_, err := r.g.DialTCP(within(t, 100*time.Millisecond), netip.MustParseAddrPort("127.0.0.1:22"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, foreign+1, r.n.Counters().RxForeign)
	require.Equal(t, uint64(5), r.n.Counters().Refused)
	require.Eventually(t, func() bool { return r.n.Counters().TCPFlows == 0 }, 5*time.Second, time.Millisecond)
}

func TestConnectLimitAndTimeout(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) {
		c.ConnectTimeout, c.MaxConnecting = 300*time.Millisecond, 2
		c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	start := time.Now()
	errs := make(chan error, 6)
	for i := range cap(errs) {
		go func() {
			_, err := r.g.DialTCP(within(t, 800*time.Millisecond), netip.MustParseAddrPort(fmt.Sprintf("192.0.2.1:%d", 100+i)))
			errs <- err
		}()
	}
	for range cap(errs) {
		require.ErrorIs(t, <-errs, context.DeadlineExceeded) // a time-out is not turned into a refusal
	}
	require.Less(t, time.Since(start), 3*time.Second)
	require.GreaterOrEqual(t, r.n.Counters().ConnectLimit, uint64(4))
}

func TestFlowLimit(t *testing.T) {
	r := newRig(t, VhostUser, func(c *Config) { c.MaxTCPFlows = 3 })
	for range 3 {
		r.outbound(t)
	}
	_, p := listenHost(t, "127.0.0.1:0")
	_, err := r.g.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Gateway4, p))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Equal(t, uint64(1), r.n.Counters().TCPLimit)
	require.Equal(t, uint64(3), r.n.Counters().TCPFlows)
}

// TestManyConnects opens and closes a thousand connections, the host first,
// from the same few ports: none may hang in TIME_WAIT.
func TestManyConnects(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	ln, p := listenHost(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("x"))
			c.Close()
		}
	}()
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	for range 10 {
		wg.Go(func() {
			for range 100 {
				errs <- func() error {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					defer cancel()
					c, err := r.g.DialTCP(ctx, netip.AddrPortFrom(r.n.cfg.Gateway4, p))
					if err != nil {
						return err
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(10 * time.Second))
					b, err := io.ReadAll(c)
					if err == nil && len(b) != 1 {
						err = fmt.Errorf("%d bytes", len(b))
					}
					return err
				}()
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return r.n.Counters().TCPFlows == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestDialErrors(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	_, err := r.n.DialTCP(within(t, 3*time.Second), netip.AddrPortFrom(r.n.cfg.Guest4, 81))
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	for _, to := range []string{"192.0.2.1:80", "10.0.2.1:80", "[2001:db8::1]:80"} {
		_, err = r.n.DialTCP(within(t, 3*time.Second), netip.MustParseAddrPort(to))
		require.ErrorIs(t, err, syscall.ENETUNREACH, to)
		_, err = r.n.DialUDP(netip.MustParseAddrPort(to))
		require.ErrorIs(t, err, syscall.ENETUNREACH, to)
	}
	_, err = r.n.DialTCP(within(t, 3*time.Second), netip.AddrPort{})
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = r.n.DialTCP(within(t, 50*time.Millisecond), netip.MustParseAddrPort("172.17.0.2:80"))
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	r.n.Close()
	_, err = r.n.DialTCP(within(t, 3*time.Second), netip.AddrPortFrom(r.n.cfg.Guest4, 81))
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestCloseBusy closes with connections in every state; the rig's cleanup and
// goleak judge.
func TestCloseBusy(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		r := newRig(t, f, func(c *Config) {
			dial := new(net.Dialer).DialContext
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "192.0.2.") {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return dial(ctx, network, address)
			}
		})
		var busy []func()
		for range 10 {
			g, h := r.outbound(t)
			busy = append(busy, func() { io.Copy(io.Discard, h) }, func() { io.Copy(g, neverEnding{}) })
		}
		for range 10 { // in TIME_WAIT
			g, h := r.outbound(t)
			g.Close()
			h.Close()
		}
		r.listenGuest(t, 80)
		for range 5 { // their data piles up in the guest
			c, err := r.n.DialTCP(within(t, 5*time.Second), netip.AddrPortFrom(r.n.cfg.Guest4, 80))
			require.NoError(t, err)
			busy = append(busy, func() { io.Copy(c, neverEnding{}) })
		}
		for _, f := range busy {
			go f()
		}
		for i := range 5 { // never answered, in either direction
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			go r.n.DialTCP(context.Background(), netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 17, 0, byte(i)}), 80))
			go r.g.DialTCP(context.Background(), netip.AddrPortFrom(a, 80))
		}
		time.Sleep(100 * time.Millisecond) // under way, with nothing to wait for
	})
}

// TestSegmentation sends a stream through link segmentation at several sizes
// to a guest that verifies every frame.
func TestSegmentation(t *testing.T) {
	for _, mtu := range []int{1500, 9000, 65520} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			bothFramings(t, func(t *testing.T, f Framing) {
				verify := &checksums{mtu: mtu}
				r := newTappedRig(t, f, func(c *Config) { c.MTU = mtu }, verify.frame)
				g, h := r.outbound(t)
				want := pattern(5 << 20)
				go func() { h.Write(want); h.CloseWrite() }()
				got, err := io.ReadAll(g)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "%d bytes arrived", len(got))
				require.Zero(t, verify.bad.Load())
				require.NotZero(t, verify.good.Load())
			})
		})
	}
}

// TestPauseDuringTransfer: a machine that stops in the middle of a transfer for
// longer than TCP's first time-outs gets the rest when it goes on.
func TestPauseDuringTransfer(t *testing.T) {
	var frames atomic.Int64
	r := newTappedRig(t, VhostUser, func(c *Config) { c.MTU = 1500 }, func([]byte) {
		if frames.Add(1) == 500 {
			time.Sleep(700 * time.Millisecond)
		}
	})
	g, h := r.outbound(t)
	want := pattern(8 << 20)
	go func() { h.Write(want); h.CloseWrite() }()
	require.NoError(t, g.SetReadDeadline(time.Now().Add(20*time.Second)))
	got, err := io.ReadAll(g)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "%d bytes arrived", len(got))
	require.Greater(t, frames.Load(), int64(500))
}

// TestUntakenRestCounts: a connection that has ended in both directions counts
// until the guest has taken all of it: else there would be no bound to what a
// guest that never reads can make the stack hold.
func TestUntakenRestCounts(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	flows := func() uint64 { return r.n.Counters().TCPFlows }
	for name, end := range map[string]func(*Conn){
		"taken":   func(c *Conn) { _, _ = io.Copy(io.Discard, c) },
		"dropped": (*Conn).Abort,
	} {
		t.Run(name, func(t *testing.T) {
			guest, host := r.outbound(t)
			require.NoError(t, guest.CloseWrite())
			_, err := io.Copy(io.Discard, host)
			require.NoError(t, err)
			_, err = host.Write(make([]byte, mostRoom*3/4)) // more than the guest takes unread, less than the stack does
			require.NoError(t, err)
			require.NoError(t, host.Close())
			require.Never(t, func() bool { return flows() != 1 }, 300*time.Millisecond, 10*time.Millisecond)
			end(guest)
			require.Eventually(t, func() bool { return flows() == 0 }, 5*time.Second, time.Millisecond)
		})
	}
}
