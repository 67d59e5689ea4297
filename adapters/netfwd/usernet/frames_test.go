package usernet

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"

	"arcbox/domain"
)

// checksums verifies TCP over IPv4 as a guest would.
type checksums struct {
	mtu       int
	good, bad atomic.Uint64
}

func (c *checksums) frame(f []byte) {
	if len(f) < ethLen+header.IPv4MinimumSize || f[12] != 8 || f[13] != 0 {
		return
	}
	ip := header.IPv4(f[ethLen:])
	if ip.TransportProtocol() != header.TCPProtocolNumber {
		return
	}
	segment := ip.Payload()
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(segment)))
	if ip.IsChecksumValid() && checksum.Checksum(segment, sum) == 0xffff &&
		int(ip.TotalLength()) == len(ip) && len(ip) <= c.mtu {
		c.good.Add(1)
	} else {
		c.bad.Add(1)
	}
}

// hypervisor is the raw other end of a Network.
type hypervisor struct {
	*net.UnixConn
	t       *testing.T
	framing Framing
	n       *Network
	ended   chan error
}

func newHypervisor(t *testing.T, f Framing, change func(*Config)) *hypervisor {
	cfg := DefaultConfig()
	cfg.Framing, cfg.MTU = f, 1500
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	require.NoError(t, err)
	a, b := socketPair(t, f)
	h := &hypervisor{UnixConn: b, t: t, framing: f, n: n, ended: make(chan error, 1)}
	go func() { h.ended <- n.Serve(context.Background(), a) }()
	waitUp(t, n)
	waitDriver(t, n)
	t.Cleanup(func() { n.Close(); b.Close() })
	return h
}

func (h *hypervisor) send(frame []byte) {
	h.t.Helper()
	require.NoError(h.t, h.SetWriteDeadline(soon()))
	_, err := h.Write(frame)
	require.NoError(h.t, err)
}

// arp asks for an address as the guest.
func (h *hypervisor) arp(target netip.Addr) []byte {
	cfg := &h.n.cfg
	b := bytes.Repeat([]byte{0xff}, 6)
	b = append(append(b, cfg.GuestMAC[:]...), "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"...)
	b = append(append(b, cfg.GuestMAC[:]...), cfg.Guest4.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), target.AsSlice()...)
}

// requireAlive asks for the gateway and wants the answer.
func (h *hypervisor) requireAlive(after string) {
	h.t.Helper()
	h.send(h.arp(h.n.cfg.Gateway4))
	require.NoError(h.t, h.SetReadDeadline(soon()))
	buf := make([]byte, 4096)
	for {
		k, err := h.Read(buf)
		require.NoError(h.t, err, after)
		if bytes.Contains(buf[:k], []byte("\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02")) {
			return
		}
	}
}

func (h *hypervisor) requireSilent(what string) {
	h.t.Helper()
	require.NoError(h.t, h.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	k, err := h.Read(make([]byte, 4096))
	require.Error(h.t, err, "%d bytes in answer to %s", k, what)
}

// ether makes a frame to the gateway.
func (h *hypervisor) ether(proto string, payload []byte) []byte {
	f := append([]byte(nil), h.n.cfg.GatewayMAC[:]...)
	f = append(append(f, h.n.cfg.GuestMAC[:]...), proto...)
	return append(f, payload...)
}

func udp4(from, to netip.AddrPort, data []byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize, 1500)
	b = append(b, data...)
	src, dst := toAddr(from.Addr()), toAddr(to.Addr())
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	u := header.UDP(ip.Payload())
	u.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(len(u))})
	u.SetChecksum(^checksum.Checksum(u, header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, uint16(len(u)))))
	return b
}

// TestBadFrames sends what the guest or a broken hypervisor could send; the
// network must go on.
func TestBadFrames(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		h := newHypervisor(t, f, nil)
		h.requireAlive("the start")
		for size := range 60 {
			h.send(make([]byte, size))
		}
		h.requireAlive("short frames")
		require.Equal(t, uint64(ethLen), h.n.Counters().RxShort)
		for _, size := range []int{1515, 9000, 65550} {
			h.send(h.ether("\x08\x00", make([]byte, size-ethLen)))
		}
		h.requireAlive("long frames")
		require.Equal(t, uint64(3), h.n.Counters().RxLong)
		for _, proto := range []string{"\x08\x00", "\x86\xdd", "\x08\x06", "\x81\x00"} {
			for size := range 106 {
				frame := h.ether(proto, bytes.Repeat([]byte{0xff}, size))
				h.send(frame)
				if proto == "\x08\x00" && size > 20 {
					frame[14], frame[23] = 0x45, 6
					copy(frame[26:], h.n.cfg.Guest4.AsSlice())
					h.send(frame)
				}
			}
		}
		h.requireAlive("garbage")
	})
}

// TestGuestCannotImpersonate sends what only others may send or be asked.
func TestGuestCannotImpersonate(t *testing.T) {
	h := newHypervisor(t, VhostUser, func(c *Config) { c.DNS = echoResolver{} })
	gw := netip.AddrPortFrom(h.n.cfg.Gateway4, dnsPort)
	from := func(s string) []byte { return h.ether("\x08\x00", udp4(netip.MustParseAddrPort(s), gw, []byte("hi"))) }

	h.send(from("10.0.2.2:1000"))
	require.NoError(t, h.SetReadDeadline(soon()))
	_, err := h.Read(make([]byte, 4096))
	require.NoError(t, err, "the guest's own address is answered")
	h.send(from("172.17.0.2:1000"))
	_, err = h.Read(make([]byte, 4096))
	require.NoError(t, err, "a container's address is answered")

	foreign := h.n.Counters().RxForeign
	for _, s := range []string{"10.0.2.1:1000", "192.0.2.1:1000", "127.0.0.1:1000", "0.0.0.0:1000"} {
		h.send(from(s))
		h.requireSilent("a datagram from " + s)
	}
	wrongMAC := from("10.0.2.2:1000")
	wrongMAC[5]++
	h.send(wrongMAC)
	h.requireSilent("another station's frame")
	for _, a := range []string{"10.0.2.2", "10.0.2.3", "192.0.2.1"} {
		h.send(h.arp(netip.MustParseAddr(a)))
		h.requireSilent("ARP for " + a)
	}
	require.Equal(t, foreign+8, h.n.Counters().RxForeign)
}

// TestPausedMachine: the hypervisor stops reading; calls keep their deadlines
// and Close returns.
func TestPausedMachine(t *testing.T) {
	bothFramings(t, func(t *testing.T, f Framing) {
		h := newHypervisor(t, f, func(c *Config) { c.MTU = 65520 })
		start := time.Now()
		for i := range 4 { // one socket's send buffer is less than the queue
			u, err := h.n.DialUDP(netip.AddrPortFrom(netip.MustParseAddr("172.17.0.2"), uint16(7+i)))
			require.NoError(t, err)
			for range 500 {
				u.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
				if _, err = u.Write(make([]byte, 60000)); err != nil {
					break
				}
			}
			u.Close()
			h.n.link.mu.Lock()
			require.LessOrEqual(t, h.n.link.queued, h.n.cfg.QueueBytes)
			h.n.link.mu.Unlock()
		}
		_, err := h.n.DialTCP(within(t, 300*time.Millisecond), netip.MustParseAddrPort("172.17.0.2:80"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(start), 5*time.Second)
		require.NoError(t, h.n.Close())
		require.NoError(t, <-h.ended)
	})
}

// TestResumedMachine: what was queued while nobody read arrives whole later.
func TestResumedMachine(t *testing.T) {
	h := newHypervisor(t, VhostUser, func(c *Config) { c.MTU = 65520 })
	u, err := h.n.DialUDP(netip.MustParseAddrPort("172.17.0.2:7"))
	require.NoError(t, err)
	defer u.Close()
	sent := 0
	for range 500 {
		u.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err = u.Write(make([]byte, 50000)); err != nil {
			break
		}
		sent++
	}
	sent -= int(h.n.Counters().TxFull)
	require.NoError(t, h.SetReadDeadline(soon()))
	buf := make([]byte, maxFrame)
	for range sent {
		k, err := h.Read(buf)
		require.NoError(t, err)
		require.Equal(t, ethLen+header.IPv4MinimumSize+header.UDPMinimumSize+50000, k)
	}
	h.requireAlive("the backlog")
}

// TestServeAgain: one Network outlives several hypervisors, one at a time.
func TestServeAgain(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	defer n.Close()
	serve := func(ctx context.Context) (*net.UnixConn, chan error) {
		a, b := pairOf(t, unix.SOCK_STREAM)
		ended := make(chan error, 1)
		go func() { ended <- n.Serve(ctx, a) }()
		return b, ended
	}
	for range 3 {
		b, ended := serve(context.Background())
		waitUp(t, n)
		extra, refused := serve(context.Background())
		require.ErrorIs(t, <-refused, domain.ErrInvalidState)
		extra.Close()
		b.Close()
		require.NoError(t, <-ended)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, ended := serve(ctx)
	defer b.Close()
	waitUp(t, n)
	cancel()
	require.NoError(t, <-ended)
}

// TestGROFlush records why receiver.flush calls Flush as often as a bucket has slots.
func TestGROFlush(t *testing.T) {
	var c counter
	g := gro.GRO{Dispatcher: &c}
	g.Init(true)
	const flows = 32
	for i := range flows {
		b := make([]byte, 140)
		ip := header.IPv4(b)
		ip.Encode(&header.IPv4Fields{
			TotalLength: 140, TTL: 64, Protocol: 6,
			SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 2, 2}), DstAddr: tcpip.AddrFrom4([4]byte{10, 0, 2, 1}),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		header.TCP(b[20:]).Encode(&header.TCPFields{SrcPort: uint16(1000 + i), DstPort: 80, DataOffset: 20, Flags: header.TCPFlagAck})
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		pkt.NetworkProtocolNumber, pkt.RXChecksumValidated = header.IPv4ProtocolNumber, true
		g.Enqueue(pkt)
		pkt.DecRef()
	}
	(&receiver{gro: g}).flush()
	require.Equal(t, flows, c.n)
}

type counter struct{ n int }

func (c *counter) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) { c.n++ }
func (c *counter) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

// FuzzDeliver feeds frames past the wire into a whole network; it may drop
// them all, but not fail.
func FuzzDeliver(f *testing.F) {
	cfg := DefaultConfig()
	cfg.DNS = echoResolver{}
	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, net.ErrClosed }
	cfg.ListenPing = func(string) (net.PacketConn, error) { return nil, net.ErrClosed }
	n, err := New(cfg)
	require.NoError(f, err)
	f.Cleanup(func() { n.Close() })
	guest := netip.AddrPortFrom(cfg.Guest4, 1000)
	eth := append(append(append([]byte(nil), cfg.GatewayMAC[:]...), cfg.GuestMAC[:]...), 8, 0)
	f.Add(append(bytes.Clone(eth), udp4(guest, netip.AddrPortFrom(cfg.Gateway4, 53), []byte("q"))...))
	f.Add(append(bytes.Clone(eth), udp4(guest, netip.MustParseAddrPort("192.0.2.1:99"), []byte("q"))...))
	f.Add(append(bytes.Clone(eth), "\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x0a\x00\x02\x02\xc0\x00\x02\x01\x08\x00\xf7\xfd\x00\x01\x00\x01"...))
	f.Add(append(bytes.Clone(eth[:12]), "\x86\xdd\x60\x00\x00\x00\x00\x08\x3a\x40\xfd\x0a\x00\xbc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xfd\x0a\x00\xbc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x80\x00\x00\x00\x00\x01\x00\x01"...))
	f.Add(append(bytes.Clone(eth[:12]), "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := newReceiver(n.link)
		r.frame(frame)
		r.frame(frame)
		r.flush()
	})
}
