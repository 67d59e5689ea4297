package usernet

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	xipv4 "golang.org/x/net/ipv4"
	xipv6 "golang.org/x/net/ipv6"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// echo is one echo request of the guest.
type echo struct {
	guest, to netip.Addr
	id, seq   uint16
	data      []byte
}

func (n *Network) setPingHandlers() {
	n.stack.SetTransportProtocolHandler(header.ICMPv4ProtocolNumber,
		func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
			return n.ping(id, pkt, uint8(header.ICMPv4Echo))
		})
	n.stack.SetTransportProtocolHandler(header.ICMPv6ProtocolNumber,
		func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
			return n.ping(id, pkt, uint8(header.ICMPv6EchoRequest))
		})
}

// ping takes an ICMP message on the goroutine that receives frames. False
// leaves it to the stack, which answers for its own addresses; IPv6's would
// answer for every other one too, and a ping of the world would lie.
func (n *Network) ping(id stack.TransportEndpointID, pkt *stack.PacketBuffer, request uint8) bool {
	to, guest := toAddrPort(id.LocalAddress, 0).Addr(), toAddrPort(id.RemoteAddress, 0).Addr()
	p := n.policy.Load()
	if p.isGateway(to) || to == gatewayLinkLocal() {
		return false
	}
	view := stack.PayloadSince(pkt.TransportHeader())
	defer view.Release()
	// Echo messages of both versions look alike (RFC 792, RFC 4443 section 4.1),
	// and the stack has checked their checksum or knows that it need not.
	b := view.AsSlice()
	if len(b) < header.ICMPv4MinimumSize || b[0] != request || b[1] != 0 {
		return true
	}
	if p.guestSide(to) || p.isRelayed(to) || !worldly(to) {
		n.counts.refused.Add(1)
		return true
	}
	h := header.ICMPv4(b)
	e := echo{guest: guest, to: to, id: h.Ident(), seq: h.Sequence(), data: append([]byte(nil), b[header.ICMPv4MinimumSize:]...)}
	select {
	case n.pings <- struct{}{}:
	default:
		n.counts.pingLimit.Add(1)
		return true
	}
	if !n.start(func() {
		defer func() { <-n.pings }()
		if n.exchangeEcho(e) {
			n.replyEcho(e)
		}
	}) {
		<-n.pings
	}
	return true
}

// exchangeEcho asks the world and reports whether it answered. A host that
// gives its users no ping sockets answers nothing.
func (n *Network) exchangeEcho(e echo) bool {
	network, request, reply, number := "udp4", icmp.Type(xipv4.ICMPTypeEcho), icmp.Type(xipv4.ICMPTypeEchoReply), int(header.ICMPv4ProtocolNumber)
	if e.to.Is6() {
		network, request, reply, number = "udp6", xipv6.ICMPTypeEchoRequest, xipv6.ICMPTypeEchoReply, int(header.ICMPv6ProtocolNumber)
	}
	c, err := n.cfg.ListenPing(network)
	if err != nil {
		return false
	}
	defer c.Close()
	stop := closeWith(n.life, c)
	defer stop()
	if c.SetDeadline(time.Now().Add(n.cfg.PingTimeout)) != nil {
		return false
	}
	// The kernel puts its own identifier and, for IPv6, the checksum.
	msg, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: int(e.id), Seq: int(e.seq), Data: e.data}}).Marshal(nil)
	if err != nil {
		return false
	}
	if _, err := c.WriteTo(msg, &net.UDPAddr{IP: e.to.AsSlice()}); err != nil {
		return false
	}
	buf := take(&n.pools.datagrams, datagramBuffer)
	defer n.pools.datagrams.Put(buf)
	for {
		k, from, err := c.ReadFrom(*buf)
		if err != nil {
			return false
		}
		peer, ok := from.(*net.UDPAddr)
		if !ok || peer.AddrPort().Addr().Unmap().WithZone("") != e.to {
			continue
		}
		m, err := icmp.ParseMessage(number, (*buf)[:k])
		if err != nil || m.Type != reply {
			continue
		}
		if b, ok := m.Body.(*icmp.Echo); ok && b.Seq == int(e.seq) && string(b.Data) == string(e.data) {
			return true
		}
	}
}

// replyEcho answers the guest in the name of the address that it asked.
func (n *Network) replyEcho(e echo) {
	proto, transport, kind := header.IPv4ProtocolNumber, header.ICMPv4ProtocolNumber, uint8(header.ICMPv4EchoReply)
	if e.to.Is6() {
		proto, transport, kind = header.IPv6ProtocolNumber, header.ICMPv6ProtocolNumber, uint8(header.ICMPv6EchoReply)
	}
	route, terr := n.stack.FindRoute(nicID, toAddr(e.to), toAddr(e.guest), proto, false)
	if terr != nil {
		return
	}
	defer route.Release()
	msg := make([]byte, header.ICMPv4MinimumSize, header.ICMPv4MinimumSize+len(e.data))
	msg[0] = kind
	header.ICMPv4(msg).SetIdent(e.id)
	header.ICMPv4(msg).SetSequence(e.seq)
	msg = append(msg, e.data...)
	var sum uint16
	if e.to.Is6() {
		sum = header.PseudoHeaderChecksum(transport, toAddr(e.to), toAddr(e.guest), uint16(len(msg)))
	}
	header.ICMPv4(msg).SetChecksum(^checksum.Checksum(msg, sum))
	// The header and the data are apart: IPv6 cuts fragments in the data alone.
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.ICMPv4MinimumSize,
		Payload:            buffer.MakeWithData(e.data),
	})
	defer pkt.DecRef()
	copy(pkt.TransportHeader().Push(header.ICMPv4MinimumSize), msg)
	pkt.TransportProtocolNumber = transport
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: transport, TTL: route.DefaultTTL()}, pkt) // lost like any packet
}
