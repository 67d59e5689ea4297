package usernet

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/domain"
)

const (
	ringFeatures = vhostuser.FeatVersion1 | vhostuser.FeatProtocol | vhostuser.FeatEventIdx | vhostuser.FeatIndirect
	testRx       = 1 << 20 // offset of receive buffers in the memory
	testTx       = 6 << 20
)

// slot is a network card whose driver is the test itself.
type slot struct {
	t      *testing.T
	n      *Network
	fe     *vhosttest.FrontEnd
	rx, tx *vhosttest.VQ
	bufLen int
	ended  chan error
}

// newSlot starts a driver with features that offers receive buffers of bufLen
// bytes.
func newSlot(t *testing.T, features uint64, bufLen int) *slot {
	cfg := DefaultConfig()
	cfg.DNS = echoResolver{}
	n, err := New(cfg)
	require.NoError(t, err)
	a, hypervisor := pairOf(t, unix.SOCK_STREAM)
	s := &slot{t: t, n: n, bufLen: bufLen, ended: make(chan error, 1)}
	go func() { s.ended <- n.Serve(context.Background(), a) }()
	s.fe = vhosttest.NewFrontEndOn(t, hypervisor)
	t.Cleanup(func() {
		require.NoError(t, n.Close())
		s.rx.Close()
		s.tx.Close()
		s.fe.Close()
	})
	features |= ringFeatures
	s.fe.Handshake(features)
	s.rx, s.tx = vhosttest.NewVQ(t, s.fe, 0, features), vhosttest.NewVQ(t, s.fe, 1, features)
	for i := range vhosttest.RingSize {
		s.rx.SetDesc(i, vhosttest.BaseGPA+testRx+uint64(i*bufLen), uint32(bufLen), vhostuser.DescWrite, 0)
		s.rx.Offer(uint16(i))
	}
	s.rx.Start(s.fe, 0)
	s.tx.Start(s.fe, 0)
	return s
}

// send offers one chain of a header and a frame.
func (s *slot) send(o offload, frame []byte) {
	var head [vnetLen]byte
	o.encode(&head, 0)
	s.raw(append(head[:], frame...))
}

func (s *slot) raw(b []byte) {
	old := s.tx.AvailIdx
	i := int(old % vhosttest.RingSize)
	at := testTx + i*(70<<10)
	copy(s.fe.Mem[at:], b)
	s.tx.SetDesc(i, vhosttest.BaseGPA+uint64(at), uint32(len(b)), 0, 0)
	s.tx.Offer(uint16(i))
	s.tx.Notify(old)
}

// next returns the next frame that comes, with its header and number of buffers.
func (s *slot) next() (offload, []byte, int) {
	s.t.Helper()
	var frame []byte
	buffers := 0
	for end := time.Now().Add(5 * time.Second); ; {
		head, k, ok := s.rx.Collect()
		if !ok {
			if time.Now().After(end) {
				s.t.Fatal("no frame came")
			}
			if !s.rx.WantSignal() {
				time.Sleep(time.Millisecond)
			}
			continue
		}
		at := testRx + int(head)*s.bufLen
		frame = append(frame, s.fe.Mem[at:at+int(k)]...)
		old := s.rx.AvailIdx
		s.rx.Offer(uint16(head))
		s.rx.Notify(old)
		if buffers++; buffers == max(1, int(binary.LittleEndian.Uint16(frame[10:]))) {
			return decodeOffload((*[vnetLen]byte)(frame)), frame[vnetLen:], buffers
		}
	}
}

// nextTCP skips what is no TCP over IPv4.
func (s *slot) nextTCP() (offload, header.IPv4, header.TCP, int) {
	for {
		o, f, n := s.next()
		if f[12] == 8 && f[13] == 0 && f[ethLen+9] == 6 {
			ip := header.IPv4(f[ethLen:])
			return o, ip, header.TCP(ip.Payload()), n
		}
	}
}

func (s *slot) ether(payload []byte) []byte {
	f := append(append([]byte(nil), s.n.cfg.GatewayMAC[:]...), s.n.cfg.GuestMAC[:]...)
	return append(append(f, 8, 0), payload...)
}

// tcp makes a packet of the guest with the checksum left to be done.
func (s *slot) tcp(to netip.AddrPort, from uint16, seq, ack uint32, flags header.TCPFlags, data []byte) (offload, []byte) {
	b := make([]byte, 40, 40+len(data))
	b = append(b, data...)
	src, dst := toAddr(s.n.cfg.Guest4), toAddr(to.Addr())
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: 6, SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	t := header.TCP(ip.Payload())
	t.Encode(&header.TCPFields{SrcPort: from, DstPort: to.Port(), SeqNum: seq, AckNum: ack, DataOffset: 20, Flags: flags, WindowSize: 65535})
	t.SetChecksum(header.PseudoHeaderChecksum(6, src, dst, uint16(len(t))))
	return offload{flags: needsChecksum, start: ethLen + 20, csumInto: 16}, s.ether(b)
}

const offloadsOfLinux = featChecksum | featGuestChecksum | featGuestTSO4 | featGuestTSO6 | featHostTSO4 | featHostTSO6 | featMergeable

// TestCardOffloads: segments larger than the MSS pass whole in both directions,
// with checksums that nobody has computed.
func TestCardOffloads(t *testing.T) {
	s := newSlot(t, offloadsOfLinux, 4096)
	ln, port := listenHost(t, "127.0.0.1:0")
	gw := netip.AddrPortFrom(s.n.cfg.Gateway4, port)
	o, f := s.tcp(gw, 4000, 100, 0, header.TCPFlagSyn, nil)
	s.send(o, f)
	o, _, tcp, _ := s.nextTCP()
	require.Equal(t, header.TCPFlagSyn|header.TCPFlagAck, tcp.Flags())
	require.Equal(t, offload{flags: dataValid}, o, "the stack has computed this one")
	seq := tcp.SequenceNumber() + 1
	o, f = s.tcp(gw, 4000, 101, seq, header.TCPFlagAck, nil)
	s.send(o, f)
	host, err := ln.AcceptTCP()
	require.NoError(t, err)
	defer host.Close()

	want := pattern(60000) // the default MSS is 536
	o, f = s.tcp(gw, 4000, 101, seq, header.TCPFlagAck|header.TCPFlagPsh, want)
	o.gsoType, o.gsoSize, o.headers = gsoTCPv4, 536, ethLen+40
	s.send(o, f)
	got := make([]byte, len(want))
	require.NoError(t, host.SetReadDeadline(soon()))
	_, err = io.ReadFull(host, got)
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, err = host.Write(want[:5000])
	require.NoError(t, err)
	for {
		o, ip, tcp, buffers := s.nextTCP()
		if len(tcp.Payload()) == 0 {
			continue
		}
		require.Greater(t, len(tcp.Payload()), 536)
		require.Equal(t, uint8(gsoTCPv4), o.gsoType)
		require.Equal(t, uint16(536), o.gsoSize)
		require.Equal(t, offload{needsChecksum, gsoTCPv4, uint16(ethLen + 20 + int(tcp.DataOffset())), 536, ethLen + 20, 16}, o)
		require.Equal(t, (vnetLen+ethLen+len(ip)+4095)/4096, buffers)
		require.Equal(t, header.PseudoHeaderChecksum(6, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(tcp))), tcp.Checksum())
		require.Equal(t, want[:len(tcp.Payload())], tcp.Payload())
		break
	}
	require.Zero(t, s.n.Counters().RxOffload)
}

// TestCardWithoutOffloads: a driver that takes nothing unfinished gets segments
// and checksums, one buffer each; what does not fit is dropped.
func TestCardWithoutOffloads(t *testing.T) {
	s := newSlot(t, 0, 1526)
	ln, port := listenHost(t, "127.0.0.1:0")
	gw := netip.AddrPortFrom(s.n.cfg.Gateway4, port)
	syn := func(o offload, f []byte) { header.TCP(f[ethLen+20:]).SetChecksum(0); s.send(offload{}, f) } // nobody looks
	syn(s.tcp(gw, 4000, 100, 0, header.TCPFlagSyn, nil))
	_, _, tcp, _ := s.nextTCP()
	syn(s.tcp(gw, 4000, 101, tcp.SequenceNumber()+1, header.TCPFlagAck, nil))
	host, err := ln.AcceptTCP()
	require.NoError(t, err)
	defer host.Close()
	_, err = host.Write(pattern(5000))
	require.NoError(t, err)
	for total := 0; total < 5000; {
		o, ip, tcp, buffers := s.nextTCP()
		require.Equal(t, offload{}, o)
		require.Equal(t, 1, buffers)
		require.LessOrEqual(t, len(tcp.Payload()), 536)
		sum := header.PseudoHeaderChecksum(6, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(tcp)))
		require.Equal(t, uint16(0xffff), checksum.Checksum(tcp, sum))
		total += len(tcp.Payload())
		syn(s.tcp(gw, 4000, 101, tcp.SequenceNumber()+uint32(len(tcp.Payload())), header.TCPFlagAck, nil))
	}
	u, err := s.n.DialUDP(netip.AddrPortFrom(s.n.cfg.Guest4, 9))
	require.NoError(t, err)
	defer u.Close()
	_, err = u.Write(make([]byte, 5000))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.n.Counters().TxUnfit == 1 }, 5*time.Second, time.Millisecond)
	s.requireAlive()
}

// requireAlive asks the resolver and wants its answer.
func (s *slot) requireAlive() {
	s.t.Helper()
	dns := netip.AddrPortFrom(s.n.cfg.Gateway4, dnsPort)
	s.send(offload{}, s.ether(udp4(netip.AddrPortFrom(s.n.cfg.Guest4, 5000), dns, []byte("alive?"))))
	for {
		if _, f, _ := s.next(); len(f) > ethLen+28 && string(f[ethLen+28:]) == "udp:alive?" {
			return
		}
	}
}

// TestHeadersThatMakeNoSense are dropped and counted.
func TestHeadersThatMakeNoSense(t *testing.T) {
	s := newSlot(t, offloadsOfLinux, 4096)
	gw := netip.AddrPortFrom(s.n.cfg.Gateway4, 80)
	good, frame := s.tcp(gw, 4000, 100, 0, header.TCPFlagSyn, nil)
	bad := []func(*offload){
		func(o *offload) { o.start = uint16(len(frame)) },
		func(o *offload) { o.start = 0xffff },
		func(o *offload) { o.csumInto = uint16(len(frame) - ethLen - 20 - 1) },
		func(o *offload) { o.csumInto = 0xffff },
		func(o *offload) { o.start = ethLen - 1 },
		func(o *offload) { o.gsoType = gsoTCPv4 },
		func(o *offload) { o.gsoType, o.gsoSize, o.flags = gsoTCPv6, 1000, 0 },
		func(o *offload) { o.gsoType, o.gsoSize = 3, 1000 },
		func(o *offload) { o.gsoType, o.gsoSize = 5, 1000 },
	}
	for _, change := range bad {
		o := good
		change(&o)
		s.send(o, frame)
	}
	s.requireAlive()
	require.Equal(t, uint64(len(bad)), s.n.Counters().RxOffload)
	for _, size := range []int{0, 1, vnetLen, vnetLen + ethLen - 1} {
		s.raw(make([]byte, size))
	}
	s.raw(make([]byte, vnetLen+ethLen+gsoMaxSize+1))
	o := good
	o.gsoType = gsoNone
	s.send(o, append(frame, make([]byte, maxMTU)...)[:ethLen+maxMTU+1])
	s.requireAlive()
	require.Equal(t, uint64(4), s.n.Counters().RxShort)
	require.Equal(t, uint64(2), s.n.Counters().RxLong)
}

// TestBrokenQueueEndsServe: a driver that breaks the rules loses its card.
func TestBrokenQueueEndsServe(t *testing.T) {
	for name, breaks := range map[string]func(s *slot){
		"tx chain without end": func(s *slot) {
			s.tx.SetDesc(0, vhosttest.BaseGPA+testTx, 100, vhostuser.DescNext, 0)
			s.tx.Offer(0)
			s.tx.Notify(0)
		},
		"tx outside of memory": func(s *slot) {
			s.tx.SetDesc(0, 1<<60, 100, 0, 0)
			s.tx.Offer(0)
			s.tx.Notify(0)
		},
		"rx buffer that is read-only": func(s *slot) {
			s.rx.SetDesc(0, vhosttest.BaseGPA+testRx, 4096, 0, 0)
			s.provoke()
		},
		"rx buffer that is tiny": func(s *slot) {
			s.rx.SetDesc(0, vhosttest.BaseGPA+testRx, vnetLen-1, vhostuser.DescWrite, 0)
			s.provoke()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlot(t, offloadsOfLinux, 4096)
			for range vhosttest.RingSize { // make the next buffer number 0 again
				s.provoke()
				s.next()
				if s.rx.LastUsed%vhosttest.RingSize == 0 {
					break
				}
			}
			breaks(s)
			select {
			case err := <-s.ended:
				require.ErrorIs(t, err, domain.ErrCorrupt)
			case <-time.After(5 * time.Second):
				t.Fatal("Serve goes on")
			}
		})
	}
}

// provoke makes the stack send something.
func (s *slot) provoke() {
	u, err := s.n.DialUDP(netip.AddrPortFrom(s.n.cfg.Guest4, 9))
	require.NoError(s.t, err)
	defer u.Close()
	_, err = u.Write([]byte("x"))
	require.NoError(s.t, err)
}

func TestPartialChecksumForTheHost(t *testing.T) {
	s := newSlot(t, offloadsOfLinux, 4096)
	dev := newFakeDevice()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.n.Relay(ctx, dev, []netip.Addr{relay4}) }()
	require.Eventually(t, func() bool { return s.n.RelayCounters().Connected }, 5*time.Second, time.Millisecond)
	o, f := s.tcp(netip.AddrPortFrom(relay4, 80), 4000, 1, 2, header.TCPFlagAck, pattern(5001))
	o.gsoType, o.gsoSize = gsoTCPv4, 1000
	s.send(o, f)
	select {
	case p := <-dev.toHost:
		ip := header.IPv4(p)
		sum := header.PseudoHeaderChecksum(6, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(ip.Payload())))
		require.Equal(t, uint16(0xffff), checksum.Checksum(ip.Payload(), sum))
		require.Len(t, p, 5041)
	case <-time.After(5 * time.Second):
		t.Fatal("nothing reached the host")
	}
	o.start, o.csumInto = ethLen, 12 // the address that has just been checked
	s.send(o, f)
	require.Eventually(t, func() bool { return s.n.RelayCounters().Malformed == 1 }, 5*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

// TestCardGoesOnAfterAPause: what is sent while the queues are stopped comes when the
// machine goes on, in the buffers that it had offered before.
func TestCardGoesOnAfterAPause(t *testing.T) {
	s := newSlot(t, offloadsOfLinux, 4096)
	s.requireAlive()
	bases := [2]uint16{}
	for i := range bases {
		bases[i] = uint16(binary.LittleEndian.Uint32(s.fe.Ask(vhostuser.ReqGetVringBase, vhosttest.State(uint32(i), 0))[4:]))
	}
	s.provoke()
	time.Sleep(20 * time.Millisecond)
	_, _, ok := s.rx.Collect()
	require.False(t, ok, "a paused machine's memory is left alone")
	s.rx.Start(s.fe, bases[0])
	s.tx.Start(s.fe, bases[1])
	_, f, _ := s.next()
	require.Equal(t, []byte("x"), f[ethLen+28:ethLen+29])
	s.requireAlive()
}

// TestCardLogsDirtyPages: a migrating hypervisor learns of every page that the
// card writes, and of none that it only reads.
func TestCardLogsDirtyPages(t *testing.T) {
	s := newSlot(t, offloadsOfLinux, 4096)
	s.requireAlive()
	const firstPage = vhosttest.BaseGPA >> vhosttest.PageShift
	const size = (firstPage + vhosttest.MemSize>>vhosttest.PageShift) / 8
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, size))
	bits, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer unix.Munmap(bits)
	s.fe.Ask(vhostuser.ReqSetLogBase, vhosttest.Words(size, 0), fd)
	s.fe.Do(vhostuser.ReqSetFeatures, vhosttest.Words(ringFeatures|offloadsOfLinux|vhostuser.FeatLogAll))
	for i, q := range []*vhosttest.VQ{s.rx, s.tx} {
		s.fe.Do(vhostuser.ReqSetVringAddr, vhosttest.Words(uint64(i)|vhosttest.RingLog<<32, vhosttest.BaseUVA+uint64(q.Desc),
			vhosttest.BaseUVA+uint64(q.Used), vhosttest.BaseUVA+uint64(q.Avail), vhosttest.BaseGPA+uint64(q.Used)))
	}
	shadow := append([]byte(nil), s.fe.Mem...)
	for range 5 {
		s.requireAlive()
	}
	page := func(off int) bool {
		p := firstPage + off>>vhosttest.PageShift
		return bits[p/8]&(1<<(p%8)) != 0
	}
	changed := 0
	for off := testRx; off < testRx+vhosttest.RingSize*4096; off += 4096 {
		if string(shadow[off:off+4096]) != string(s.fe.Mem[off:off+4096]) {
			changed++
			require.True(t, page(off), "receive buffer at %#x", off)
		}
	}
	require.Equal(t, 5, changed)
	require.True(t, page(s.rx.Used))
	require.True(t, page(s.tx.Used))
	require.False(t, page(testTx), "pages that the card only read")
}
