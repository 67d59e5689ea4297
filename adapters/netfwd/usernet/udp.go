package usernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// forwardUDP is called with the first datagram of a session, on the goroutine
// that receives frames: it must not wait. False answers "port unreachable".
func (n *Network) forwardUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	to, ok := n.policy.Load().target(toAddrPort(id.LocalAddress, id.LocalPort))
	if !ok {
		n.counts.refused.Add(1)
		return false
	}
	if !acquire(&n.counts.udpFlows, n.cfg.MaxUDPFlows, &n.counts.udpLimit) {
		return true // dropped
	}
	wq := new(waiter.Queue)
	ep, terr := r.CreateEndpoint(wq)
	if terr != nil {
		n.counts.udpFlows.Add(-1)
		return true
	}
	guest := newPacketSocket(wq, ep)
	run := func() {
		defer n.counts.udpFlows.Add(-1)
		defer guest.close()
		n.sessionUDP(guest, to)
	}
	if !n.start(run) {
		guest.close()
		n.counts.udpFlows.Add(-1)
	}
	return true
}

// sessionUDP copies datagrams both ways until neither side has sent one for
// the idle time.
func (n *Network) sessionUDP(guest *packetSocket, to netip.AddrPort) {
	idle := n.cfg.UDPIdle
	if to.Port() == dnsPort {
		idle = min(idle, n.cfg.UDPIdleDNS)
	}
	ctx, cancel := context.WithCancel(n.life)
	defer cancel()
	host, err := n.cfg.Dial(ctx, "udp", to.String())
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { host.Close() })
	defer stop()

	var last atomic.Int64
	touch := func() { last.Store(time.Now().UnixNano()) }
	touch()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		n.repliesUDP(host, guest, idle, &last)
	}()
	guest.serve(ctx, &n.pools, func(b []byte, _ tcpip.FullAddress) {
		touch()
		if _, err := host.Write(b); err != nil {
			n.counts.udpDropped.Add(1)
		}
	})
	host.Close()
	<-done
}

// repliesUDP passes the host side's datagrams on until the session is idle or
// host is closed.
func (n *Network) repliesUDP(host net.Conn, guest *packetSocket, idle time.Duration, last *atomic.Int64) {
	read := datagramReader(host)
	for {
		quiet := time.Since(time.Unix(0, last.Load()))
		if quiet >= idle {
			return
		}
		if host.SetReadDeadline(time.Now().Add(idle-quiet)) != nil {
			return
		}
		err := read(&n.pools, func(b []byte) {
			last.Store(time.Now().UnixNano())
			if !guest.send(b, nil) {
				n.counts.udpDropped.Add(1)
			}
		})
		switch {
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
			// An ICMP error for an earlier datagram: the next one may pass.
		default:
			return
		}
	}
}

// datagramReader returns a function that waits for one datagram of c and calls
// f with it. For a kernel socket it holds no buffer while it waits.
func datagramReader(c net.Conn) func(*pools, func([]byte)) error {
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return func(p *pools, f func([]byte)) error { return readRaw(raw, p, f) }
		}
	}
	return func(p *pools, f func([]byte)) error {
		buf := take(&p.datagrams, datagramBuffer)
		defer p.datagrams.Put(buf)
		k, err := c.Read(*buf)
		if err == nil {
			f((*buf)[:k])
		}
		return err
	}
}

func readRaw(raw syscall.RawConn, p *pools, f func([]byte)) error {
	var err error
	rawErr := raw.Read(func(fd uintptr) bool {
		buf := take(&p.datagrams, datagramBuffer)
		defer p.datagrams.Put(buf)
		for {
			var k int
			switch k, err = unix.Read(int(fd), *buf); err {
			case nil:
				f((*buf)[:k])
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			}
			return true
		}
	})
	if rawErr != nil {
		return rawErr
	}
	return err
}
