package usernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"arcbox/domain"
)

// Conn is a TCP connection to the guest's side. CloseWrite and CloseRead
// half-close it. Its owner closes it; Network.Close resets it.
type Conn struct {
	*gonet.TCPConn
	ep   tcpip.Endpoint
	wq   *waiter.Queue
	room int64 // what the stack holds of it in a direction, bytes
}

func (n *Network) newConn(wq *waiter.Queue, ep tcpip.Endpoint) *Conn {
	room := n.limitRoom(ep)
	ep.SocketOptions().SetDelayOption(false)
	ep.SocketOptions().SetKeepAlive(true)
	idle := tcpip.KeepaliveIdleOption(n.cfg.KeepaliveIdle)
	interval := tcpip.KeepaliveIntervalOption(n.cfg.KeepaliveInterval)
	// The stack refuses neither; a connection without probes would work too.
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	return &Conn{TCPConn: gonet.NewTCPConn(wq, ep), ep: ep, wq: wq, room: room}
}

// Abort drops the connection with a reset.
func (c *Conn) Abort() { c.ep.Abort() }

// DialTCP connects to an address on the guest's side: the guest itself or one
// of the prefixes behind it. The error is a *net.OpError. It wraps the
// syscall.Errno that an operating system would give (ECONNREFUSED when the
// guest refused, ENETUNREACH for an address that is not on the guest's side),
// ctx's error when ctx ended, net.ErrClosed after Close. A container that is
// gone answers late or never: ctx should have a deadline.
func (n *Network) DialTCP(ctx context.Context, to netip.AddrPort) (*Conn, error) {
	if err := n.dialable(to); err != nil {
		return nil, dialError("tcp", to, err)
	}
	addr, proto := toFull(to)
	wq := new(waiter.Queue)
	ep, terr := n.stack.NewEndpoint(tcp.ProtocolNumber, proto, wq)
	if terr != nil {
		return nil, dialError("tcp", to, errnoOf(terr))
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if terr = n.bindNext(ep, to.Addr().Unmap()); terr == nil {
		terr = ep.Connect(addr)
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Abort()
			return nil, dialError("tcp", to, ctx.Err())
		case <-n.life.Done():
			ep.Abort()
			return nil, dialError("tcp", to, net.ErrClosed)
		case <-ready:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Close()
		return nil, dialError("tcp", to, errnoOf(terr))
	}
	if n.life.Err() != nil { // Close may have gone past ep before it was registered
		ep.Abort()
		return nil, dialError("tcp", to, net.ErrClosed)
	}
	return n.newConn(wq, ep), nil
}

// bindNext gives ep the next local port in turn. The stack would choose one at
// random, and now and then one that was used a moment ago, which a guest that
// still has the old connection may refuse.
func (n *Network) bindNext(ep tcpip.Endpoint, to netip.Addr) tcpip.Error {
	const first, count, tries = 16 << 10, 48 << 10, 1024
	// The stack forgets to free a port that was bound without an address.
	own := toAddr(n.cfg.Gateway4)
	if to.Is6() {
		own = toAddr(n.cfg.Gateway6)
	}
	for range tries {
		p := first + n.dials.Add(1)%count
		terr := ep.Bind(tcpip.FullAddress{Addr: own, Port: uint16(p)})
		if _, taken := terr.(*tcpip.ErrPortInUse); !taken {
			return terr
		}
	}
	return &tcpip.ErrNoPortAvailable{}
}

// DialUDP returns a connected UDP socket towards the guest's side; errors are
// as DialTCP's. Its Write waits while the link holds what was sent before: a
// caller that must not hang sets a write deadline. Its owner closes it.
func (n *Network) DialUDP(to netip.AddrPort) (net.Conn, error) {
	if err := n.dialable(to); err != nil {
		return nil, dialError("udp", to, err)
	}
	addr, proto := toFull(to)
	c, err := gonet.DialUDP(n.stack, nil, &addr, proto)
	if err != nil {
		return nil, dialError("udp", to, err)
	}
	return c, nil
}

func (n *Network) dialable(to netip.AddrPort) error {
	if !to.IsValid() || to.Port() == 0 {
		return fmt.Errorf("%w: %w", syscall.EINVAL, domain.ErrInvalid)
	}
	if n.life.Err() != nil {
		return net.ErrClosed
	}
	if !n.policy.Load().guestSide(to.Addr().Unmap()) {
		return syscall.ENETUNREACH
	}
	return nil
}

func dialError(network string, to netip.AddrPort, err error) error {
	op := &net.OpError{Op: "dial", Net: network, Err: err}
	switch {
	case !to.IsValid():
	case network == "udp":
		op.Addr = net.UDPAddrFromAddrPort(to)
	default:
		op.Addr = net.TCPAddrFromAddrPort(to)
	}
	return op
}

func errnoOf(e tcpip.Error) error {
	switch e.(type) {
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrConnectionReset, *tcpip.ErrConnectionAborted, *tcpip.ErrAborted:
		return syscall.ECONNRESET
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrHostUnreachable:
		return syscall.EHOSTUNREACH
	case *tcpip.ErrNetworkUnreachable:
		return syscall.ENETUNREACH
	case *tcpip.ErrNoPortAvailable:
		return syscall.EADDRNOTAVAIL
	}
	return errors.New(e.String())
}
