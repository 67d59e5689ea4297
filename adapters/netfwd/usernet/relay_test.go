package usernet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"arcbox/domain"
)

var (
	relay4, relay6 = netip.MustParseAddr("10.0.2.254"), netip.MustParseAddr("fd0a:bc::fe")
	behind4        = netip.MustParseAddr("172.17.0.2")
	behind6        = netip.MustParseAddr("fd0a:bc:1::2")
)

// fakeDevice is a host's interface whose host is the test.
type fakeDevice struct {
	toGuest chan []byte // what the host sends; a nil packet is a failure
	toHost  chan []byte
	closed  chan struct{}
	once    sync.Once
}

func newFakeDevice() *fakeDevice {
	return &fakeDevice{toGuest: make(chan []byte, 256), toHost: make(chan []byte, 256), closed: make(chan struct{})}
}

var errDevice = errors.New("device gone")

func (d *fakeDevice) ReadPackets(buf []byte, headroom int, ends []int) ([]int, error) {
	at := 0
	for {
		if len(buf)-at < headroom+maxMTU {
			return ends, nil
		}
		var p []byte
		if at == 0 {
			select {
			case p = <-d.toGuest:
			case <-d.closed:
				return ends, os.ErrClosed
			}
		} else {
			select {
			case p = <-d.toGuest:
			default:
				return ends, nil
			}
		}
		if p == nil {
			return ends, errDevice
		}
		at += headroom + copy(buf[at+headroom:], p)
		ends = append(ends, at)
	}
}

func (d *fakeDevice) WritePacket(b []byte) error {
	select {
	case <-d.closed:
		return os.ErrClosed
	case d.toHost <- bytes.Clone(b):
		return nil
	default:
		return errDevice
	}
}

func (d *fakeDevice) Close() error { d.once.Do(func() { close(d.closed) }); return nil }

// packet makes an IP packet of protocol number payload with b in it.
func packet(src, dst netip.Addr, payload uint8, b []byte) []byte {
	if src.Is4() {
		p := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(b))
		header.IPv4(p).Encode(&header.IPv4Fields{TotalLength: uint16(len(p) + len(b)), TTL: 64, Protocol: payload,
			SrcAddr: toAddr(src), DstAddr: toAddr(dst)})
		return append(p, b...)
	}
	p := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(b))
	header.IPv6(p).Encode(&header.IPv6Fields{PayloadLength: uint16(len(b)), HopLimit: 64,
		TransportProtocol: tcpip.TransportProtocolNumber(payload), SrcAddr: toAddr(src), DstAddr: toAddr(dst)})
	return append(p, b...)
}

func frameOf(p []byte) []byte {
	cfg := DefaultConfig()
	f := append(append([]byte{}, cfg.GatewayMAC[:]...), cfg.GuestMAC[:]...)
	proto := header.IPv4ProtocolNumber
	if p[0]>>4 == 6 {
		proto = header.IPv6ProtocolNumber
	}
	return append(binary.BigEndian.AppendUint16(f, uint16(proto)), p...)
}

// relayRig is a hypervisor whose Network has a device.
type relayRig struct {
	*hypervisor
	dev   *fakeDevice
	end   context.CancelFunc
	ended chan error
}

func newRelayRig(t *testing.T, f Framing) *relayRig {
	r := &relayRig{hypervisor: newHypervisor(t, f, nil), dev: newFakeDevice(), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	t.Cleanup(cancel)
	go func() { r.ended <- r.n.Relay(ctx, r.dev, []netip.Addr{relay4, relay6}) }()
	require.Eventually(t, func() bool { return r.n.RelayCounters().Connected }, 5*time.Second, time.Millisecond)
	return r
}

// receive returns the next frame.
func (r *relayRig) receive() []byte {
	r.t.Helper()
	require.NoError(r.t, r.SetReadDeadline(soon()))
	f := make([]byte, maxFrame)
	k, err := r.Read(f)
	require.NoError(r.t, err)
	return f[:k]
}

// nextIP returns the next frame that is no multicast of the stack's own.
func (r *relayRig) nextIP() []byte {
	for {
		if f := r.receive(); f[0]&1 == 0 {
			return f
		}
	}
}

func (r *relayRig) host() []byte {
	r.t.Helper()
	select {
	case p := <-r.dev.toHost:
		return p
	case <-time.After(5 * time.Second):
		r.t.Fatalf("no packet reached the host: %+v", r.n.RelayCounters())
		return nil
	}
}

func TestRelayCarries(t *testing.T) {
	bothFramings(t, func(t *testing.T, framing Framing) {
		r := newRelayRig(t, framing)
		cfg := DefaultConfig()
		var sent, got uint64
		for _, to := range []netip.Addr{behind4, behind6, cfg.Guest4, cfg.Guest6} {
			from := relay4
			if to.Is6() {
				from = relay6
			}
			for _, size := range []int{1, 1400} { // of protocols that the stack does not know too
				p := packet(from, to, 253, bytes.Repeat([]byte{9}, size))
				r.dev.toGuest <- p
				f := r.nextIP()
				require.Equal(t, cfg.GuestMAC[:], f[:6])
				require.Equal(t, cfg.GatewayMAC[:], f[6:12])
				require.Equal(t, p, f[ethLen:])
				sent++

				back := packet(to, from, 253, bytes.Repeat([]byte{8}, size))
				padding := make([]byte, 20) // a frame may be longer than its packet
				r.send(append(frameOf(back), padding...))
				require.Equal(t, back, r.host())
				got++
			}
		}
		require.Eventually(t, func() bool { return r.n.RelayCounters().ToHost == got }, 5*time.Second, time.Millisecond)
		c := r.n.RelayCounters()
		require.Equal(t, sent, c.ToGuest)
		require.Zero(t, c.Malformed+c.Foreign+c.Long+c.Refused+c.Down+c.GuestFull+c.DeviceFull)
	})
}

func TestRelayDropsFromHost(t *testing.T) {
	r := newRelayRig(t, VhostUser)
	good := packet(relay4, behind4, 17, []byte("good"))
	for name, c := range map[string]struct {
		packet []byte
		count  func(RelayCounters) uint64
	}{
		"empty":                {[]byte{}, func(c RelayCounters) uint64 { return c.Malformed }},
		"version 5":            {append([]byte{0x55}, good[1:]...), func(c RelayCounters) uint64 { return c.Malformed }},
		"shorter than it says": {good[:len(good)-1], func(c RelayCounters) uint64 { return c.Malformed }},
		"longer than it says":  {append(bytes.Clone(good), 0), func(c RelayCounters) uint64 { return c.Malformed }},
		"a short header":       {append([]byte{0x44}, good[1:]...), func(c RelayCounters) uint64 { return c.Malformed }},
		"above the MTU":        {packet(relay4, behind4, 17, make([]byte, 1481)), func(c RelayCounters) uint64 { return c.Long }},
		"of another source":    {packet(netip.MustParseAddr("192.168.1.2"), behind4, 17, nil), func(c RelayCounters) uint64 { return c.Foreign }},
		"to the world":         {packet(relay4, netip.MustParseAddr("192.0.2.1"), 17, nil), func(c RelayCounters) uint64 { return c.Foreign }},
		"to the gateway":       {packet(relay4, netip.MustParseAddr("10.0.2.1"), 17, nil), func(c RelayCounters) uint64 { return c.Foreign }},
		"to itself":            {packet(relay4, relay4, 17, nil), func(c RelayCounters) uint64 { return c.Foreign }},
		"multicast":            {packet(relay6, netip.MustParseAddr("ff02::2"), 58, make([]byte, 8)), func(c RelayCounters) uint64 { return c.Foreign }},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.count(r.n.RelayCounters())
			// In one batch with good ones, which must stay whole.
			first, last := packet(relay4, behind4, 17, []byte("first")), packet(relay6, behind6, 17, []byte("the last one"))
			for _, p := range [][]byte{first, c.packet, c.packet, last} {
				r.dev.toGuest <- p
			}
			require.Equal(t, first, r.nextIP()[ethLen:])
			require.Equal(t, last, r.nextIP()[ethLen:])
			require.Equal(t, before+2, c.count(r.n.RelayCounters()))
		})
	}
}

func TestRelayDropsFromGuest(t *testing.T) {
	r := newRelayRig(t, VhostUser)
	option := packet(behind4, relay4, 17, make([]byte, 12))
	option[0] = 0x46
	require.NoError(t, r.n.SetBehind(append(DefaultConfig().Behind, netip.MustParsePrefix("203.0.113.0/24"))))
	fragment := func(next byte, first bool, b ...byte) []byte {
		h := make([]byte, header.IPv6FragmentHeaderSize) // RFC 8200 section 4.5
		h[0], h[3] = next, 1
		if !first {
			h[2], h[3] = 2, 0
		}
		return packet(behind6, relay6, 44, append(h, b...))
	}
	foreign := func(c RelayCounters) uint64 { return c.Foreign }
	refused := func(c RelayCounters) uint64 { return c.Refused }
	for name, c := range map[string]struct {
		packet []byte
		count  func(RelayCounters) uint64
	}{
		"spoofed source":         {packet(netip.MustParseAddr("8.8.8.8"), relay4, 17, nil), foreign},
		"loopback source":        {packet(netip.MustParseAddr("127.0.0.1"), relay4, 17, nil), foreign},
		"the host's source":      {packet(relay4, relay4, 17, nil), foreign},
		"the gateway's source":   {packet(DefaultConfig().Gateway4, relay4, 17, nil), foreign},
		"link-local source":      {packet(netip.MustParseAddr("fe80::1"), relay6, 17, nil), foreign},
		"no route back":          {packet(netip.MustParseAddr("203.0.113.5"), relay4, 17, nil), foreign},
		"a guest of no machine":  {packet(netip.MustParseAddr("10.0.2.77"), relay4, 17, nil), foreign},
		"a cut advertisement":    {fragment(58, true, 134, 0, 0, 0, 0, 0, 0, 0), refused},
		"a cut routing header":   {fragment(43, true, make([]byte, 8)...), refused},
		"half a fragment header": {packet(behind6, relay6, 44, make([]byte, 7)), refused},
		"IP options":             {option, refused},
		"ICMP redirect":          {packet(behind4, relay4, 1, []byte{5, 1, 0, 0, 0, 0, 0, 0}), refused},
		"router advertisement":   {packet(behind6, relay6, 58, []byte{134, 0, 0, 0, 0, 0, 0, 0}), refused},
		"neighbour advert":       {packet(behind6, relay6, 58, make([]byte, 0)), refused},
		"routing header":         {packet(behind6, relay6, 43, make([]byte, 8)), refused},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.count(r.n.RelayCounters())
			r.send(frameOf(c.packet))
			good := packet(behind4, relay4, 1, []byte{11, 0, 0, 0, 0, 0, 0, 0}) // time exceeded: traceroute
			r.send(frameOf(good))
			require.Equal(t, good, r.host())
			require.Equal(t, before+1, c.count(r.n.RelayCounters()))
		})
	}
	t.Run("a later fragment", func(t *testing.T) {
		p := packet(behind4, relay4, 1, []byte{5, 5, 5, 5})
		header.IPv4(p).SetFlagsFragmentOffset(0, 8)
		r.send(frameOf(p))
		require.Equal(t, p, r.host())
	})
	t.Run("fragments", func(t *testing.T) {
		for _, p := range [][]byte{fragment(58, true, 128, 0, 0, 0, 0, 0, 0, 0), fragment(58, false, 134, 0, 0, 0), fragment(17, true, make([]byte, 8)...)} {
			r.send(frameOf(p))
			require.Equal(t, p, r.host())
		}
	})
	t.Run("a ping through a multicast frame", func(t *testing.T) {
		before := r.n.Counters().Refused
		f := frameOf(packet(behind4, relay4, 1, []byte{8, 0, 0xf7, 0xfe, 0, 0, 0, 1}))
		f[0] = 1
		r.send(f)
		require.Eventually(t, func() bool { return r.n.Counters().Refused == before+1 }, 5*time.Second, time.Millisecond)
	})
	t.Run("a host that does not take it", func(t *testing.T) {
		p := frameOf(packet(behind4, relay4, 17, nil))
		for range cap(r.dev.toHost) + 5 {
			r.send(p)
		}
		require.Eventually(t, func() bool { return r.n.RelayCounters().DeviceFull == 5 }, 5*time.Second, time.Millisecond)
	})
}

// TestRelayNeighbour: the guest learns the gateway's MAC for the device's
// addresses while one is connected, and no longer.
func TestRelayNeighbour(t *testing.T) {
	r := newRelayRig(t, VhostUser)
	cfg := DefaultConfig()
	ask := r.arp(relay4)
	r.send(ask)
	answer := header.ARP(r.nextIP()[ethLen:])
	require.Equal(t, header.ARPReply, answer.Op())
	require.Equal(t, cfg.GatewayMAC[:], answer.HardwareAddressSender())
	require.Equal(t, relay4.AsSlice(), answer.ProtocolAddressSender())

	group := header.SolicitedNodeAddr(toAddr(relay6)) // as Linux asks
	ns := make([]byte, header.ICMPv6NeighborSolicitMinimumSize+8)
	m := header.ICMPv6(ns)
	m.SetType(header.ICMPv6NeighborSolicit)
	header.NDPNeighborSolicit(m.MessageBody()).SetTargetAddress(toAddr(relay6))
	header.NDPNeighborSolicit(m.MessageBody()).Options().Serialize(header.NDPOptionsSerializer{header.NDPSourceLinkLayerAddressOption(cfg.GuestMAC[:])})
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: toAddr(cfg.Guest6), Dst: group}))
	dst, _ := netip.AddrFromSlice(group.AsSlice())
	p := packet(cfg.Guest6, dst, 58, ns)
	header.IPv6(p).SetHopLimit(header.NDPHopLimit)
	f := frameOf(p)
	copy(f, header.EthernetAddressFromMulticastIPv6Address(group))
	r.send(f)
	got := r.nextIP()
	require.Equal(t, header.ICMPv6NeighborAdvert, header.ICMPv6(got[ethLen+header.IPv6MinimumSize:]).Type())
	na := header.NDPNeighborAdvert(header.ICMPv6(got[ethLen+header.IPv6MinimumSize:]).MessageBody())
	require.Equal(t, toAddr(relay6), na.TargetAddress())

	r.end()
	require.NoError(t, <-r.ended)
	before := r.n.Counters().RxForeign
	r.send(ask)
	require.Eventually(t, func() bool { return r.n.Counters().RxForeign == before+1 }, 5*time.Second, time.Millisecond)
}

func TestRelayEnds(t *testing.T) {
	t.Run("with its context", func(t *testing.T) {
		r := newRelayRig(t, VhostUser)
		r.end()
		require.NoError(t, <-r.ended)
		require.False(t, r.n.RelayCounters().Connected)
		<-r.dev.closed
		// And another one may come.
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- r.n.Relay(ctx, newFakeDevice(), []netip.Addr{relay4}) }()
		require.Eventually(t, func() bool { return r.n.RelayCounters().Connected }, 5*time.Second, time.Millisecond)
		cancel()
		require.NoError(t, <-done)
	})
	t.Run("with its context, before a paused guest", func(t *testing.T) {
		r := newRelayRig(t, VhostUser)
		p := packet(relay4, behind4, 253, make([]byte, 1400))
		for stuck := 0; stuck < 50; { // until nobody reads the device
			select {
			case r.dev.toGuest <- p:
				stuck = 0
			case <-time.After(time.Millisecond):
				stuck++
			}
		}
		r.end()
		select {
		case err := <-r.ended:
			require.NoError(t, err)
		case <-time.After(5 * time.Second):
			t.Fatal("it goes on")
		}
	})
	t.Run("with the network", func(t *testing.T) {
		r := newRelayRig(t, VhostUser)
		require.NoError(t, r.n.Close())
		require.NoError(t, <-r.ended)
		d := newFakeDevice()
		require.NoError(t, r.n.Relay(context.Background(), d, []netip.Addr{relay4}))
		<-d.closed
	})
	t.Run("with the device", func(t *testing.T) {
		r := newRelayRig(t, VhostUser)
		r.dev.toGuest <- nil
		require.ErrorIs(t, <-r.ended, errDevice)
		require.False(t, r.n.RelayCounters().Connected)
	})
	t.Run("with a second one", func(t *testing.T) {
		r := newRelayRig(t, VhostUser)
		d := newFakeDevice()
		require.ErrorIs(t, r.n.Relay(context.Background(), d, []netip.Addr{relay4}), domain.ErrInvalidState)
		<-d.closed
		require.True(t, r.n.RelayCounters().Connected)
	})
	t.Run("for its addresses", func(t *testing.T) {
		r := newHypervisor(t, VhostUser, nil)
		for _, host := range [][]netip.Addr{nil, {netip.MustParseAddr("192.0.2.1")}, {r.n.cfg.Guest4}, {r.n.cfg.Gateway6}, {behind4}} {
			d := newFakeDevice()
			require.ErrorIs(t, r.n.Relay(context.Background(), d, host), domain.ErrInvalid, host)
			<-d.closed
		}
	})
}

// TestRelayPausedGuest: a guest that does not read holds the device back, with
// a bounded amount in between, and nothing is lost when it reads again.
func TestRelayPausedGuest(t *testing.T) {
	r := newRelayRig(t, VhostUser)
	go func() {
		for i := range 1 << 14 {
			p := packet(relay4, behind4, 253, binary.BigEndian.AppendUint32(make([]byte, 1000), uint32(i)))
			select {
			case r.dev.toGuest <- p:
			case <-r.dev.closed:
				return
			}
		}
	}()
	settled := uint64(0)
	require.Eventually(t, func() bool {
		now := r.n.RelayCounters().ToGuest
		was := settled
		settled = now
		return now > 0 && now == was
	}, 10*time.Second, 50*time.Millisecond)
	require.Less(t, settled, uint64(1<<14))
	r.n.link.mu.Lock()
	require.LessOrEqual(t, r.n.link.queued, relaySlabs*relaySlabBytes)
	r.n.link.mu.Unlock()
	for i := range 1 << 14 {
		f := r.nextIP()
		require.Equal(t, uint32(i), binary.BigEndian.Uint32(f[len(f)-4:]))
	}
}

// TestRelayWithoutGuest: packets for nobody are dropped, and the device stays read.
func TestRelayWithoutGuest(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	d, done := newFakeDevice(), make(chan error)
	go func() { done <- n.Relay(context.Background(), d, []netip.Addr{relay4}) }()
	for range 4 * relaySlabs {
		d.toGuest <- packet(relay4, behind4, 17, nil)
	}
	require.Eventually(t, func() bool { return n.RelayCounters().Down == 4*relaySlabs }, 5*time.Second, time.Millisecond)
	require.NoError(t, n.Close())
	require.NoError(t, <-done)
}
