package usernet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"arcbox/domain"
)

// dnsConnIdle ends a TCP connection on which no query comes (RFC 7766 section
// 6.2.3 suggests some seconds); dnsConns bounds how many there are.
const (
	dnsConnIdle = 20 * time.Second
	dnsConns    = 64
)

// startDNS listens on port 53 of the gateway's addresses.
func (n *Network) startDNS() error {
	conns := make(chan struct{}, dnsConns)
	for _, gw := range []netip.Addr{n.cfg.Gateway4, n.cfg.Gateway6} {
		if !gw.IsValid() {
			continue
		}
		addr, proto := toFull(netip.AddrPortFrom(gw, dnsPort))
		wq := new(waiter.Queue)
		ep, terr := n.stack.NewEndpoint(udp.ProtocolNumber, proto, wq)
		if terr != nil {
			return stackError("open the DNS port", terr)
		}
		if terr := ep.Bind(addr); terr != nil {
			ep.Close()
			return stackError("bind the DNS port", terr)
		}
		socket := newPacketSocket(wq, ep)
		n.start(func() { n.serveDNSPackets(socket) })

		ln, err := gonet.ListenTCP(n.stack, addr, proto)
		if err != nil {
			return fmt.Errorf("listen on the DNS port: %w: %w", err, domain.ErrInvalidState)
		}
		n.start(func() { n.serveDNSListener(ln, conns) })
	}
	return nil
}

func (n *Network) serveDNSPackets(s *packetSocket) {
	defer s.close()
	s.serve(n.life, &n.pools, func(b []byte, from tcpip.FullAddress) {
		select {
		case n.queries <- struct{}{}:
		default:
			n.counts.queryLimit.Add(1)
			return // the guest asks again
		}
		query := append([]byte(nil), b...)
		if !n.start(func() {
			defer func() { <-n.queries }()
			answer, err := n.cfg.DNS.Resolve(n.life, query, domain.UDP)
			if err == nil && len(answer) > 0 && n.life.Err() == nil {
				s.send(answer, &from)
			}
		}) {
			<-n.queries
		}
	})
}

func (n *Network) serveDNSListener(ln *gonet.TCPListener, conns chan struct{}) {
	stop := context.AfterFunc(n.life, func() { ln.Shutdown() }) // Close alone does not free Accept
	defer ln.Close()
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		select {
		case conns <- struct{}{}:
		default:
			n.counts.queryLimit.Add(1)
			c.Close()
			continue
		}
		if !n.start(func() {
			defer func() { <-conns }()
			n.serveDNSConn(c)
		}) {
			c.Close()
		}
	}
}

// serveDNSConn answers the queries of one connection, each with its length
// before it (RFC 1035 section 4.2.2), in their order.
func (n *Network) serveDNSConn(c net.Conn) {
	defer c.Close()
	stop := closeWith(n.life, c)
	defer stop()
	for {
		if c.SetDeadline(time.Now().Add(dnsConnIdle)) != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		select {
		case n.queries <- struct{}{}:
		case <-n.life.Done():
			return
		}
		answer, err := n.cfg.DNS.Resolve(n.life, query, domain.TCP)
		<-n.queries
		if err != nil || len(answer) == 0 || len(answer) > 1<<16-1 {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// closeWith closes c when ctx ends.
func closeWith(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}
