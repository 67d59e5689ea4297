//go:build linux

package publish

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// flowIdle ends a UDP flow that nobody used, as the kernel's connection
	// tracking does for a flow with answers.
	flowIdle    = 2 * time.Minute
	maxFlows    = 256
	maxDatagram = 64 << 10
)

// datagrams carries UDP from one socket to a container, with a socket per
// client for the answers.
type datagrams struct {
	socket *net.UDPConn
	target netip.AddrPort

	mu    sync.Mutex
	flows map[netip.AddrPort]*net.UDPConn
	wg    sync.WaitGroup
}

// serve runs until ctx ends or the socket fails, and closes it. It returns nil
// after the end of ctx.
func (d *datagrams) serve(ctx context.Context) error {
	d.flows = map[netip.AddrPort]*net.UDPConn{}
	stop := context.AfterFunc(ctx, func() { _ = d.socket.Close() })
	defer d.wg.Wait()
	defer d.closeAll()
	defer d.socket.Close()
	defer stop()
	buf, oob := make([]byte, maxDatagram), make([]byte, 256)
	for {
		n, oobn, _, client, err := d.socket.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if to := d.flow(client, oob[:oobn]); to != nil {
			_, _ = to.Write(buf[:n]) // UDP may lose
		}
	}
}

// flow returns the socket for a client's datagrams, nil when there are too many.
func (d *datagrams) flow(client netip.AddrPort, oob []byte) *net.UDPConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.flows[client]; c != nil {
		_ = c.SetReadDeadline(time.Now().Add(flowIdle))
		return c
	}
	if len(d.flows) >= maxFlows {
		return nil
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(d.target))
	if err != nil {
		return nil
	}
	d.flows[client] = c
	_ = c.SetReadDeadline(time.Now().Add(flowIdle))
	from := answerFrom(oob)
	d.wg.Go(func() {
		d.answers(c, client, from)
		d.mu.Lock()
		delete(d.flows, client)
		d.mu.Unlock()
		_ = c.Close()
	})
	return c
}

func (d *datagrams) answers(c *net.UDPConn, client netip.AddrPort, from []byte) {
	buf := make([]byte, maxDatagram)
	for {
		n, err := c.Read(buf)
		switch {
		case errors.Is(err, unix.ECONNREFUSED):
			continue // nobody listens in the container yet
		case err != nil:
			return // idle, or closed
		}
		_ = c.SetReadDeadline(time.Now().Add(flowIdle))
		if _, _, err := d.socket.WriteMsgUDPAddrPort(buf[:n], from, client); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (d *datagrams) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.flows {
		_ = c.Close()
	}
}

// answerFrom makes answers come from the address that the client sent to, which
// is among the messages that came with its datagram because dockerd asked for
// it. Without, the kernel chooses.
func answerFrom(oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: the last four bytes are the datagram's destination.
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		}
	}
	return nil
}
