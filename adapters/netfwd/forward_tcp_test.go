package netfwd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// requireHalfClose sends to b, ends that direction, and sends the other way.
func requireHalfClose(t *testing.T, a, b *net.TCPConn) {
	t.Helper()
	want := pattern(3 << 20)
	for _, d := range []struct{ from, to *net.TCPConn }{{a, b}, {b, a}} {
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

// TestForwardHalfClose is the bug of the first forwarder, which ended a
// connection when either direction had ended and so cut uploads off.
func TestForwardHalfClose(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln4, ln6 := r.listen(t, container4), r.listen(t, container6)
	for _, c := range []struct {
		address string
		target  netip.AddrPort
		ln      *net.TCPListener
	}{{"127.0.0.1", container4, ln4}, {"::1", container6, ln6}, {"::1", container4, ln4}, {"0.0.0.0", container4, ln4}} {
		f, host := r.forward(t, domain.TCP, c.address, c.target)
		if host.Addr().IsUnspecified() {
			host = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), host.Port())
		}
		client, server := flow(t, c.ln, host)
		requireHalfClose(t, client, server)
		client, server = flow(t, c.ln, host)
		requireHalfClose(t, server, client)
		requireNoFlows(t, f)
		require.Equal(t, domain.ForwardStats{Total: 2, In: 6 << 20, Out: 6 << 20}, f.Stats())
	}
}

// settledFlow is a flow in which a byte has gone all the way. The fake guest
// connects to the server before it answers the host, and would take a reset that
// comes at once for a refusal: the host tries again, with another connection.
func settledFlow(t *testing.T, ln *net.TCPListener, host netip.AddrPort) (client, server *net.TCPConn) {
	client, server = flow(t, ln, host)
	_, err := client.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(server, make([]byte, 1))
	require.NoError(t, err)
	return client, server
}

func requireReset(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestForwardReset(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln := r.listen(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	for name, reset := range map[string]func(client, server *net.TCPConn) (sees *net.TCPConn){
		"of the client": func(client, server *net.TCPConn) *net.TCPConn {
			resetTCP(client)
			return server
		},
		"of the container": func(client, server *net.TCPConn) *net.TCPConn {
			resetTCP(server)
			return client
		},
		"of the client after its end": func(client, server *net.TCPConn) *net.TCPConn {
			client.CloseWrite()
			io.Copy(io.Discard, server)
			resetTCP(client)
			return server
		},
		"of the container after its end": func(client, server *net.TCPConn) *net.TCPConn {
			server.CloseWrite()
			io.Copy(io.Discard, client)
			resetTCP(server)
			return client
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := settledFlow(t, ln, host)
			sees := reset(client, server)
			// A side that was told of an end already learns of the reset when it writes.
			require.Eventually(t, func() bool {
				_, err := sees.Write([]byte("x"))
				return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			}, 5*time.Second, time.Millisecond)
			requireNoFlows(t, f)
		})
	}
}

// TestForwardResetIsNoEnd reads, so that it sees which of the two it was.
func TestForwardResetIsNoEnd(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln := r.listen(t, container4)
	_, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	client, server := settledFlow(t, ln, host)
	resetTCP(client)
	requireReset(t, server)
	client, server = settledFlow(t, ln, host)
	resetTCP(server)
	requireReset(t, client)
}

// requireTurnedAway connects and wants a reset, which may come at any time.
func requireTurnedAway(t *testing.T, host netip.AddrPort) {
	t.Helper()
	c, err := net.DialTimeout("tcp", host.String(), 5*time.Second)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
		return
	}
	defer c.Close()
	require.NoError(t, c.SetDeadline(soon()))
	requireReset(t, c)
}

// TestForwardToAContainerThatStarts: docker run returns before the server in
// the container listens, and a client that comes by then is not turned away.
func TestForwardToAContainerThatStarts(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	f, host := r.forward(t, domain.TCP, "127.0.0.1", nobody)
	client := dialHost(t, host)
	time.Sleep(100 * time.Millisecond)
	r.serve(t, nobody, echoTCP)
	requireEcho(t, client, []byte("early"))
	require.Zero(t, f.Stats().Failed)
	require.NoError(t, client.Close()) // before the server waits for its connections
}

func TestForwardToWhoRefuses(t *testing.T) {
	limits := defaultForwardLimits()
	limits.patience = 0
	r := newForwardRig(t, limits)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", nobody)
	requireTurnedAway(t, host)
	requireNoFlows(t, f)
	require.Equal(t, domain.ForwardStats{Total: 1, Failed: 1}, f.Stats())
	// The target need not have answered yet when the port was opened.
	r.serve(t, nobody, echoTCP)
	requireEcho(t, dialHost(t, host), []byte("hello"))
}

func TestForwardToBlackHole(t *testing.T) {
	r := newForwardRig(t, forwardLimits{tcpFlows: 10, dial: 200 * time.Millisecond})
	f, host := r.forward(t, domain.TCP, "127.0.0.1", blackHole)
	start := time.Now()
	requireTurnedAway(t, host)
	require.Greater(t, time.Since(start), 150*time.Millisecond)
	require.Less(t, time.Since(start), 3*time.Second)
	requireNoFlows(t, f)
	require.Equal(t, uint64(1), f.Stats().Failed)
}

// TestForwardSlowReader: what a reader does not take stays with the writer.
func TestForwardSlowReader(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln := r.listen(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	client, server := flow(t, ln, host)
	for _, d := range []struct{ from, to *net.TCPConn }{{client, server}, {server, client}} {
		before := heap()
		sent, block := 0, make([]byte, 1<<20)
		for {
			require.NoError(t, d.from.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
			k, err := d.from.Write(block)
			sent += k
			if err != nil {
				require.ErrorContains(t, err, "timeout")
				break
			}
			require.Less(t, sent, 64<<20, "nothing holds the writer back")
		}
		require.Less(t, heap()-before, int64(24<<20))
		require.NoError(t, d.to.SetReadDeadline(soon()))
		got, err := io.CopyN(io.Discard, d.to, int64(sent))
		require.NoError(t, err)
		require.EqualValues(t, sent, got, "and nothing is lost")
	}
	require.Positive(t, f.Stats().In)
}

// TestForwardClientGivesUp: a container that hangs does not keep the
// connections of clients that are gone.
func TestForwardClientGivesUp(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln := r.listen(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	client, _ := flow(t, ln, host)
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
	for {
		if _, err := client.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	resetTCP(client)
	requireNoFlows(t, f)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestForwardManyAtOnce holds 500 connections and looks at what they cost.
func TestForwardManyAtOnce(t *testing.T) {
	const many = 500
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	var wg sync.WaitGroup
	conns := make([]net.Conn, many)
	errs := make(chan error, many)
	for i := range conns {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", host.String(), 20*time.Second)
			if err != nil {
				errs <- err
				return
			}
			conns[i] = c
			c.SetDeadline(time.Now().Add(20 * time.Second))
			want := fmt.Sprintf("%5d", i)
			c.Write([]byte(want))
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				errs <- fmt.Errorf("connection %d got %q: %w", i, got, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	require.Equal(t, uint64(many), f.Stats().Flows)
	require.Eventually(t, func() bool { return f.Stats().In == 5*many && f.Stats().Out == 5*many },
		5*time.Second, time.Millisecond, "bytes are counted while connections are open")
	for _, c := range conns {
		c.Close()
	}
	requireNoFlows(t, f)
}

// TestForwardLeavesNothing connects 10,000 times; every second client resets.
func TestForwardLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	connect := func(reset bool) error {
		nc, err := net.DialTimeout("tcp", host.String(), 10*time.Second)
		if err != nil {
			return err
		}
		c := nc.(*net.TCPConn)
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("x"))
		b := make([]byte, 2)
		if k, err := c.Read(b); err != nil || k != 1 {
			return fmt.Errorf("%d bytes: %w", k, err)
		}
		if reset {
			resetTCP(c)
			return nil
		}
		defer c.Close()
		c.CloseWrite()
		if k, err := c.Read(b); !errors.Is(err, io.EOF) {
			return fmt.Errorf("%d bytes instead of the end: %w", k, err)
		}
		return nil
	}
	round := func(total int) {
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for range 8 {
			wg.Go(func() {
				for i := range total / 8 {
					if err := connect(i%2 == 0); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		requireNoFlows(t, f)
	}
	round(800)
	time.Sleep(3 * r.cfg.TimeWait)
	goroutines, memory := runtime.NumGoroutine(), heap()
	round(10_000)
	// One more is the goroutine in which Eventually asks.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return heap()-memory < 8<<20 }, 10*time.Second, 200*time.Millisecond)
	require.Equal(t, uint64(10_800), f.Stats().Total)
	require.Zero(t, f.Stats().Failed)
}

func TestForwardTCPLimit(t *testing.T) {
	r := newForwardRig(t, forwardLimits{tcpFlows: 2, dial: time.Second})
	ln := r.listen(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	a, _ := flow(t, ln, host)
	flow(t, ln, host)
	requireTurnedAway(t, host)
	require.Equal(t, domain.ForwardStats{Flows: 2, Total: 2, Limited: 1}, f.Stats())
	resetTCP(a)
	require.Eventually(t, func() bool { return f.Stats().Flows == 1 }, 5*time.Second, time.Millisecond)
	flow(t, ln, host) // there is a place again
}

// TestForwardCloseInTraffic is the bug of the first forwarder whose sessions
// survived its stop.
func TestForwardCloseInTraffic(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	ln := r.listen(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	_, hole := r.forward(t, domain.TCP, "127.0.0.1", blackHole)
	dialHost(t, hole) // is being connected when the link is closed
	var wg sync.WaitGroup
	for range 10 {
		client, server := flow(t, ln, host)
		wg.Go(func() { io.Copy(io.Discard, server) })
		wg.Go(func() {
			for b := make([]byte, 1<<16); ; {
				if _, err := client.Write(b); err != nil {
					return
				}
			}
		})
	}
	idle, _ := flow(t, ln, host)
	require.Eventually(t, func() bool { return f.Stats().In > 10<<20 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Close())
	_, err := net.DialTimeout("tcp", host.String(), time.Second)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the port is free")
	require.Zero(t, f.Stats().Flows, "nothing runs when Close has returned")
	requireReset(t, idle)
	wg.Wait()
	require.NoError(t, f.Close())
}

// faultyListener fails as a listener does without file descriptors, and counts
// how often it was asked.
type faultyListener struct {
	errs  []error
	asked int
}

func (l *faultyListener) AcceptTCP() (*net.TCPConn, error) {
	l.asked++
	if len(l.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

// TestAcceptSurvives: the loop waits after an error that passes, longer each
// time, and goes on.
func TestAcceptSurvives(t *testing.T) {
	f := &forward{}
	f.life, f.cancel = context.WithCancel(context.Background())
	l := &faultyListener{errs: []error{syscall.EMFILE, syscall.ECONNABORTED, syscall.ENFILE, syscall.ENOBUFS}}
	start := time.Now()
	f.acceptTCP(l, bindPlan{})
	require.Equal(t, 5, l.asked)
	require.GreaterOrEqual(t, time.Since(start), 75*time.Millisecond) // 5 + 10 + 20 + 40

	f.cancel()
	l = &faultyListener{errs: []error{syscall.EMFILE, syscall.EMFILE}}
	f.acceptTCP(l, bindPlan{})
	require.Equal(t, 1, l.asked, "Close ends the wait")
}
