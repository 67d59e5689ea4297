package usernet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"arcbox/domain"
)

// PacketDevice is an interface of the host that IP packets are read from and
// written to, such as a tun device. One goroutine reads, another one writes.
type PacketDevice interface {
	// ReadPackets waits for a packet and then takes those that are there
	// already, as long as buf has room for one of the largest. Before each
	// packet it leaves headroom bytes; it appends where each one ends in buf to
	// ends. After Close it returns os.ErrClosed.
	ReadPackets(buf []byte, headroom int, ends []int) ([]int, error)
	// WritePacket hands the host one packet. It never waits, and keeps nothing of b.
	WritePacket(b []byte) error
	Close() error
}

const (
	// relaySlabs bounds what is between a device and the link: a guest that does
	// not read leaves the device unread, whose own queue is short.
	relaySlabs     = 4
	relaySlabBytes = 256 << 10
)

// hostRelay carries packets between a device of the host and the guest, past the
// stack. It has no goroutine of its own on the way to the host: the one that
// reads frames writes the packet.
type hostRelay struct {
	net    *Network
	dev    PacketDevice
	a4, a6 netip.Addr // the device's addresses
	free   slabs
}

// slabs are the free slabs of a relay.
type slabs chan *slab

// Put takes a slab back; there are never more than fit.
func (s slabs) Put(x any) { s <- x.(*slab) }

// Relay connects dev, whose addresses on the host are host, to the guest and
// the prefixes behind it: packets from host to there become frames, frames from
// the guest and Config.Behind to host become packets, whatever they carry. It
// owns dev, and returns
// nil when ctx ends or at Close, and the device's error when that fails. The
// error wraps domain.ErrInvalid when host are not free addresses of the guest's
// network, domain.ErrInvalidState when another device is connected.
func (n *Network) Relay(ctx context.Context, dev PacketDevice, host []netip.Addr) error {
	r, err := n.newRelay(dev, host)
	if err != nil {
		return errors.Join(err, dev.Close())
	}
	if !n.enter() {
		return dev.Close()
	}
	defer n.wg.Done()
	if !n.relay.CompareAndSwap(nil, r) {
		return errors.Join(fmt.Errorf("connect the host's interface: another one is connected: %w", domain.ErrInvalidState), dev.Close())
	}
	defer dev.Close()
	defer n.relay.Store(nil)
	if r.a6.IsValid() {
		// The guest asks the multicast group of the address for its MAC.
		group := header.SolicitedNodeAddr(toAddr(r.a6))
		if e := n.stack.JoinGroup(ipv6.ProtocolNumber, nicID, group); e != nil {
			return stackError("answer for the host's interface", e)
		}
		defer n.stack.LeaveGroup(ipv6.ProtocolNumber, nicID, group)
	}
	for _, c := range []context.Context{ctx, n.life} {
		stop := context.AfterFunc(c, func() { dev.Close() })
		defer stop()
	}
	err = r.run(ctx)
	if ctx.Err() != nil || n.life.Err() != nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("read from the host's interface: %w", err)
}

func (n *Network) newRelay(dev PacketDevice, host []netip.Addr) (*hostRelay, error) {
	r := &hostRelay{net: n, dev: dev, free: make(slabs, relaySlabs)}
	for _, a := range host {
		c := &n.cfg
		switch {
		case a == c.Gateway4 || a == c.Guest4 || a == c.Gateway6 || a == c.Guest6:
			return nil, fmt.Errorf("connect the host's interface: its address %s is taken: %w", a, domain.ErrInvalid)
		case c.Subnet4.Contains(a) && !r.a4.IsValid():
			r.a4 = a
		case c.hasIPv6() && c.Subnet6.Contains(a) && !r.a6.IsValid():
			r.a6 = a
		}
	}
	if !r.a4.IsValid() && !r.a6.IsValid() {
		return nil, fmt.Errorf("connect the host's interface: none of its addresses %v is in the guest's network %s: %w", host, n.cfg.Subnet4, domain.ErrInvalid)
	}
	for range relaySlabs {
		r.free.Put(&slab{buf: make([]byte, 0, relaySlabBytes), ends: make([]int, 0, batchMax), home: r.free})
	}
	return r, nil
}

// run moves packets to the guest until the device ends.
func (r *hostRelay) run(ctx context.Context) error {
	l := r.net.link
	for {
		var s *slab
		select {
		case s = <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		case <-r.net.life.Done():
			return r.net.life.Err()
		}
		ends, err := r.dev.ReadPackets(s.buf[:cap(s.buf)], ethLen, s.ends[:0])
		if err != nil {
			return err
		}
		r.frames(s, ends)
		if len(s.ends) == 0 || !l.push(s) {
			s.put()
		}
	}
}

// frames makes frames, in place, of the packets in s that may go to the guest.
func (r *hostRelay) frames(s *slab, ends []int) {
	c, l := &r.net.relayed, r.net.link
	buf, at, start := s.buf[:cap(s.buf)], 0, 0
	kept := ends[:0] // never ahead of what is read
	for _, end := range ends {
		frame := buf[start:end]
		start = end
		b := frame[ethLen:]
		h, ok := parseIP(b)
		switch {
		case !ok || h.length != len(b):
			c.malformed.Add(1)
			continue
		case len(b) > int(l.mtu.Load()):
			c.long.Add(1)
			continue
		case !r.own(h.src) || !r.net.policy.Load().guestSide(h.dst):
			c.foreign.Add(1)
			continue
		}
		l.linkHeader(frame[:ethLen], h.proto)
		if at != end-len(frame) { // after one that was left out
			copy(buf[at:], frame)
		}
		at += len(frame)
		kept = append(kept, at)
		c.toGuest.Add(1)
		c.toGuestBytes.Add(uint64(len(b)))
	}
	s.buf, s.ends = buf[:at], kept
}

// own reports whether a is one of the device's addresses.
func (r *hostRelay) own(a netip.Addr) bool { return a.IsValid() && (a == r.a4 || a == r.a6) }

// answerable reports whether the host's answers to a would come back here: its
// routes lead to the guest and to the container pools. SetBehind's prefixes are
// more than that, and the guest's own word; the host would take packets from
// them for those of its other interfaces.
func (r *hostRelay) answerable(a netip.Addr) bool {
	c := &r.net.cfg
	return a == c.Guest4 || c.hasIPv6() && a == c.Guest6 ||
		slices.ContainsFunc(c.Behind, func(p netip.Prefix) bool { return p.Contains(a) })
}

// take hands the host a packet of the guest that is addressed to the device,
// and reports whether it was one: the stack must not see it then. What the
// guest left to do of the checksum is done in b; the host takes a packet that
// was to be cut as it is, for it goes no further.
func (r *hostRelay) take(b []byte, todo offload) bool {
	h, ok := parseIP(b)
	if !ok || !r.own(h.dst) {
		return false
	}
	c := &r.net.relayed
	if !todo.within(h.at) { // it would change what was just checked
		c.malformed.Add(1)
		return true
	}
	todo.finish(b)
	switch {
	case !r.answerable(h.src):
		c.foreign.Add(1)
	case h.risky(b):
		c.refused.Add(1)
	case r.dev.WritePacket(b[:h.length]) != nil:
		c.deviceFull.Add(1)
	default:
		c.toHost.Add(1)
		c.toHostBytes.Add(uint64(h.length))
	}
	return true
}

// isRelayed reports whether a is an address of the device that is connected.
func (p *policy) isRelayed(a netip.Addr) bool {
	if p.relay == nil {
		return false
	}
	r := p.relay.Load()
	return r != nil && r.own(a)
}
