//go:build linux

package device

import (
	"encoding/binary"
	"io"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/domain"
)

func TestMalformedRequestsAreRefused(t *testing.T) {
	const half = vhosttest.MemSize / 2
	addr := func(desc, used, avail uint64) []byte { return vhosttest.Words(0, desc, used, avail, 0) }
	r := newColdRig(t, eventFeatures)
	mem := []int{r.fe.FD, r.fe.FD, r.fe.FD, r.fe.FD, r.fe.FD, r.fe.FD, r.fe.FD, r.fe.FD}
	pipe, other, err := os.Pipe()
	require.NoError(t, err)
	defer pipe.Close()
	defer other.Close()
	r.fe.Do(vhostuser.ReqSetVringNum, vhosttest.State(1, 64))
	for _, c := range []struct {
		name string
		req  vhostuser.Request
		body []byte
		fds  []int
	}{
		{"features not offered", vhostuser.ReqSetFeatures, vhosttest.Words(1 << 60), nil},
		{"features cut short", vhostuser.ReqSetFeatures, []byte{1}, nil},
		{"protocol features not offered", vhostuser.ReqSetProtocolFeatures, vhosttest.Words(1 << 12), nil},
		{"unknown request", 999, nil, nil},
		{"config is read-only", vhostuser.ReqSetConfig, make([]byte, 20), nil},
		{"queue size zero", vhostuser.ReqSetVringNum, vhosttest.State(0, 0), nil},
		{"queue size no power of two", vhostuser.ReqSetVringNum, vhosttest.State(0, 100), nil},
		{"queue size too large", vhostuser.ReqSetVringNum, vhosttest.State(0, 65536), nil},
		{"queue that is not there", vhostuser.ReqSetVringNum, vhosttest.State(3, 128), nil},
		{"vring state cut short", vhostuser.ReqSetVringNum, []byte{0, 0, 0, 0, 1}, nil},
		{"vring state empty", vhostuser.ReqSetVringEnable, nil, nil},
		{"base too large", vhostuser.ReqSetVringBase, vhosttest.State(0, 70000), nil},
		{"addresses without a size", vhostuser.ReqSetVringAddr, addr(vhosttest.BaseUVA, vhosttest.BaseUVA+4096, vhosttest.BaseUVA+8192), nil},
		{"addresses cut short", vhostuser.ReqSetVringAddr, vhosttest.Words(1), nil},
		{"desc not aligned", vhostuser.ReqSetVringAddr, vhosttest.Words(1, vhosttest.BaseUVA+8, vhosttest.BaseUVA+4096, vhosttest.BaseUVA+8192, 0), nil},
		{"used not aligned", vhostuser.ReqSetVringAddr, vhosttest.Words(1, vhosttest.BaseUVA, vhosttest.BaseUVA+4098, vhosttest.BaseUVA+8192, 0), nil},
		{"avail not aligned", vhostuser.ReqSetVringAddr, vhosttest.Words(1, vhosttest.BaseUVA, vhosttest.BaseUVA+4096, vhosttest.BaseUVA+8193, 0), nil},
		{"ring over the end of memory", vhostuser.ReqSetVringAddr, vhosttest.Words(1, vhosttest.BaseUVA+vhosttest.MemSize-16, vhosttest.BaseUVA, vhosttest.BaseUVA, 0), nil},
		{"ring over two regions", vhostuser.ReqSetVringAddr, vhosttest.Words(1, vhosttest.BaseUVA+half-16, vhosttest.BaseUVA, vhosttest.BaseUVA, 0), nil},
		{"ring at the end of the address space", vhostuser.ReqSetVringAddr, vhosttest.Words(1, math.MaxUint64-15, vhosttest.BaseUVA, vhosttest.BaseUVA, 0), nil},
		{"kick without a descriptor", vhostuser.ReqSetVringKick, vhosttest.Words(1), nil},
		{"kick that must be polled", vhostuser.ReqSetVringKick, vhosttest.Words(1 | 1<<8), nil},
		{"kick that is a pipe", vhostuser.ReqSetVringKick, vhosttest.Words(1), []int{vhosttest.FDOf(pipe)}},
		{"call that is a pipe", vhostuser.ReqSetVringCall, vhosttest.Words(1), []int{vhosttest.FDOf(other)}},
		{"call of no queue", vhostuser.ReqSetVringCall, vhosttest.Words(7), []int{vhosttest.FDOf(other)}},
		{"memory table cut short", vhostuser.ReqSetMemTable, vhosttest.Words(1, vhosttest.BaseGPA), mem[:1]},
		{"memory table empty", vhostuser.ReqSetMemTable, vhosttest.Words(0), nil},
		{"memory table without files", vhostuser.ReqSetMemTable, vhosttest.MemTableBody(), nil},
		{"memory table with a file too many", vhostuser.ReqSetMemTable, vhosttest.MemTableBody(), mem[:3]},
		{"memory table with too many regions", vhostuser.ReqSetMemTable, append(vhosttest.Words(9), make([]byte, 9*32)...), mem},
		{"memory region empty", vhostuser.ReqSetMemTable, vhosttest.Words(1, vhosttest.BaseGPA, 0, vhosttest.BaseUVA, 0), mem[:1]},
		{"memory region larger than its file", vhostuser.ReqSetMemTable, vhosttest.Words(1, vhosttest.BaseGPA, vhosttest.MemSize+1, vhosttest.BaseUVA, 0), mem[:1]},
		{"memory region offset wraps", vhostuser.ReqSetMemTable, vhosttest.Words(1, vhosttest.BaseGPA, 4096, vhosttest.BaseUVA, math.MaxUint64-100), mem[:1]},
		{"memory region address wraps", vhostuser.ReqSetMemTable, vhosttest.Words(1, math.MaxUint64-100, 4096, vhosttest.BaseUVA, 0), mem[:1]},
		{"memory regions overlap", vhostuser.ReqSetMemTable, vhosttest.Words(2, vhosttest.BaseGPA, half, vhosttest.BaseUVA, 0, vhosttest.BaseGPA+4096, half, vhosttest.BaseUVA+half, half), mem[:2]},
		{"memory in a pipe", vhostuser.ReqSetMemTable, vhosttest.Words(1, vhosttest.BaseGPA, 4096, vhosttest.BaseUVA, 0), []int{vhosttest.FDOf(pipe)}},
	} {
		require.False(t, r.fe.Try(c.req, c.body, c.fds...), c.name)
	}
	require.Empty(t, r.fe.Ask(vhostuser.ReqGetConfig, append(vhosttest.State(4, 8), make([]byte, 12)...)), "config out of bounds")
	r.guest.start(0) // nothing of it has harmed the device
	echoOnce(t, r.dial(t, portEcho))
	require.False(t, r.fe.Try(vhostuser.ReqSetVringNum, vhosttest.State(0, 64)), "size of a running queue")
	require.False(t, r.fe.Try(vhostuser.ReqSetVringBase, vhosttest.State(0, 0)), "base of a running queue")
}

func TestMessagesThatEndTheConnection(t *testing.T) {
	fds := make([]int, 9) // one more than a message may have
	for name, send := range map[string]func(f *vhosttest.FrontEnd){
		"wrong version":    func(f *vhosttest.FrontEnd) { f.Raw(make([]byte, 12)) },
		"reply to nothing": func(f *vhosttest.FrontEnd) { f.Raw(vhosttest.EncodeRequest(vhostuser.ReqGetFeatures, 1<<2, nil)) },
		"huge body":        func(f *vhosttest.FrontEnd) { f.Raw(vhosttest.Words(1|1<<32, 1<<20)[:12]) },
		"cut header":       func(f *vhosttest.FrontEnd) { f.Raw([]byte{1, 0, 0}); _ = f.Sock.CloseWrite() },
		"cut body": func(f *vhosttest.FrontEnd) {
			f.Raw(vhosttest.EncodeRequest(2, 0, vhosttest.Words(1))[:15])
			_ = f.Sock.CloseWrite()
		},
		"too many descriptors": func(f *vhosttest.FrontEnd) {
			for i := range fds {
				fds[i] = f.FD
			}
			f.Send(vhostuser.ReqSetMemTable, 0, nil, fds...)
		},
		"error that cannot be told": func(f *vhosttest.FrontEnd) { f.Send(vhostuser.ReqSetVringNum, 0, nil) },
		"get of no queue": func(f *vhosttest.FrontEnd) {
			f.Send(vhostuser.ReqGetVringBase, vhosttest.FlagNeedReply, vhosttest.State(9, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newColdRig(t, eventFeatures)
			send(r.fe)
			_, err := r.dev.Dial(within(t, 5*time.Second), portEcho)
			require.ErrorIs(t, err, domain.ErrNotRunning)
		})
	}
}

// breakTx offers one chain on the transmit queue that make writes.
func (r *rig) breakTx(make func(q *vhosttest.VQ)) {
	r.guest.mu.Lock()
	defer r.guest.mu.Unlock()
	old := r.guest.tx.AvailIdx
	make(r.guest.tx)
	r.guest.tx.Offer(127)
	r.guest.tx.Notify(old)
}

func TestMalformedChainsStopTheDevice(t *testing.T) {
	for name, chain := range map[string]func(q *vhosttest.VQ){
		"outside memory":    func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA+vhosttest.MemSize, 44, 0, 0) },
		"over the end":      func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA+vhosttest.MemSize-10, 44, 0, 0) },
		"address wraps":     func(q *vhosttest.VQ) { q.SetDesc(127, math.MaxUint64-10, 44, 0, 0) },
		"loop":              func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA, 44, vhostuser.DescNext, 127) },
		"next out of range": func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA, 44, vhostuser.DescNext, 128) },
		"indirect empty":    func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA, 0, vhostuser.DescIndirect, 0) },
		"indirect odd":      func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA+15<<20, 17, vhostuser.DescIndirect, 0) },
		"indirect huge":     func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA, 16*65537, vhostuser.DescIndirect, 0) },
		"indirect with next": func(q *vhosttest.VQ) {
			q.SetDesc(127, vhosttest.BaseGPA+15<<20, 16, vhostuser.DescIndirect|vhostuser.DescNext, 0)
		},
		"indirect outside": func(q *vhosttest.VQ) {
			q.SetDesc(127, vhosttest.BaseGPA+vhosttest.MemSize-8, 16, vhostuser.DescIndirect, 0)
		},
		"indirect in indirect": func(q *vhosttest.VQ) {
			q.SetDesc(127, vhosttest.BaseGPA+uint64(q.Desc)+127*16, 16, vhostuser.DescIndirect, 0)
		},
		"head out of range": func(q *vhosttest.VQ) {
			q.Offer(500)
		},
		"more chains than the queue has": func(q *vhosttest.VQ) { q.AvailIdx += 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, eventFeatures)
			s := r.dial(t, portEcho)
			r.breakTx(chain)
			_, err := s.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = r.dev.Dial(within(t, 10*time.Millisecond), portEcho)
			require.ErrorIs(t, err, domain.ErrTimeout)
			require.ErrorContains(t, err, "broke queue 1")
			// The driver may start again.
			r.pause(t)
			r.guest.close()
			r.guest = newGuest(t, r.fe, eventFeatures)
			r.guest.start(0)
			echoOnce(t, r.dial(t, portEcho))
		})
	}
}

func TestReceiveBufferWithoutRoomStopsTheDevice(t *testing.T) {
	r := newColdRig(t, eventFeatures)
	for i := range vhosttest.RingSize {
		r.guest.rx.SetDesc(i, vhosttest.BaseGPA+rxBufs, headerLen-1, vhostuser.DescWrite, 0)
	}
	r.guest.start(0)
	_, err := r.dev.Dial(within(t, 5*time.Second), portEcho)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// inject sends a packet as the guest.
func (r *rig) inject(h header, n int, data []byte) {
	r.guest.mu.Lock()
	defer r.guest.mu.Unlock()
	head := r.guest.free[0]
	r.guest.free = r.guest.free[1:]
	at := txBufs + int(head)*8192
	h.len = uint32(n)
	h.encode((*[headerLen]byte)(r.fe.Mem[at:]))
	copy(r.fe.Mem[at+headerLen:], data)
	old := r.guest.tx.AvailIdx
	r.guest.tx.SetDesc(int(head), vhosttest.BaseGPA+uint64(at), uint32(headerLen+len(data)), 0, 0)
	r.guest.tx.Offer(head)
	r.guest.tx.Notify(old)
}

func TestPacketsThatResetTheirStream(t *testing.T) {
	for name, send := range map[string]func(r *rig, h header){
		"longer than its chain": func(r *rig, h header) { h.op = opRW; r.inject(h, 100, make([]byte, 99)) },
		"length of 4 GiB":       func(r *rig, h header) { h.op = opRW; r.inject(h, math.MaxUint32, make([]byte, 10)) },
		"beyond the credit": func(r *rig, h header) {
			h.op = opRW
			for range recvWindow/8000 + 1 {
				r.inject(h, 8000, make([]byte, 8000))
			}
		},
		"unknown operation":       func(r *rig, h header) { h.op = 77; r.inject(h, 0, nil) },
		"second answer":           func(r *rig, h header) { h.op = opResponse; r.inject(h, 0, nil) },
		"request on the stream":   func(r *rig, h header) { h.op = opRequest; r.inject(h, 0, nil) },
		"credit for unsent bytes": func(r *rig, h header) { h.op, h.fwd = opCreditUpdate, 1; r.inject(h, 0, nil) },
		"data after the end": func(r *rig, h header) {
			h.op, h.flags = opShutdown, shutSend
			r.inject(h, 0, nil)
			h.op, h.flags = opRW, 0
			r.inject(h, 4, []byte("late"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, eventFeatures)
			s := r.dial(t, portHold)
			h := header{srcCID: testCID, dstCID: hostCID, srcPort: portHold, dstPort: s.key.host, typ: typeStream, alloc: 4096}
			send(r, h)
			require.Eventually(t, func() bool { return r.streams() == 0 }, 5*time.Second, time.Millisecond)
			_, err := io.Copy(io.Discard, s)
			if name != "data after the end" {
				require.ErrorIs(t, err, syscall.ECONNRESET)
			}
			require.Eventually(t, func() bool { return r.guest.control(opRst) == 1 }, 5*time.Second, time.Millisecond)
			echoOnce(t, r.dial(t, portEcho))
		})
	}
}

func TestPacketsThatAreIgnored(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	good := header{srcCID: testCID, dstCID: hostCID, srcPort: portEcho, dstPort: s.key.host, typ: typeStream, op: opRst}
	spoofed, elsewhere, unknown := good, good, good
	spoofed.srcCID, elsewhere.dstCID, unknown.dstPort = 99, 1, 5
	for _, h := range []header{spoofed, elsewhere, unknown} {
		r.inject(h, 0, nil)
	}
	r.breakTx(func(q *vhosttest.VQ) { q.SetDesc(127, vhosttest.BaseGPA+txBufs, headerLen-1, 0, 0) })
	echoOnce(t, s)
	require.Zero(t, r.guest.control(opRst))
}

func TestOtherTypesAndRequestsAreRefused(t *testing.T) {
	r := newRig(t, eventFeatures)
	h := header{srcCID: testCID, dstCID: hostCID, srcPort: 1, dstPort: 2, typ: 2, op: opRequest}
	r.inject(h, 0, nil)
	h.typ = typeStream
	r.inject(h, 0, nil)
	require.Eventually(t, func() bool { return r.guest.control(opRst) == 2 }, 5*time.Second, time.Millisecond)
	r.guest.mu.Lock()
	defer r.guest.mu.Unlock()
	var types []uint16
	for _, h := range r.guest.seen {
		require.EqualValues(t, 2, h.srcPort)
		types = append(types, h.typ)
	}
	require.Equal(t, []uint16{2, typeStream}, types)
}

// A driver that sends and never receives must be held back.
func TestResetsAreNotStoredWithoutBound(t *testing.T) {
	r := newRig(t, eventFeatures)
	r.exhaustRx(t)
	stray := header{srcCID: testCID, dstCID: hostCID, srcPort: 1, dstPort: 2, typ: typeStream, op: opRW}
	const packets = 2000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range packets {
			for {
				r.guest.mu.Lock()
				n := len(r.guest.free)
				r.guest.mu.Unlock()
				if n > 0 {
					break
				}
				time.Sleep(50 * time.Microsecond)
			}
			r.inject(stray, 0, nil)
		}
	}()
	waiting := func() int {
		r.dev.mux.rx.Lock()
		defer r.dev.mux.rx.Unlock()
		return len(r.dev.mux.out.strays)
	}
	require.Eventually(t, func() bool { return waiting() == strayLimit }, 5*time.Second, time.Millisecond)
	require.Never(t, func() bool { return waiting() > strayLimit }, 50*time.Millisecond, time.Millisecond)
	r.guest.mu.Lock()
	r.guest.noRx = false
	r.guest.mu.Unlock()
	r.guest.feed(vhosttest.RingSize)
	<-sent
	require.Eventually(t, func() bool { return r.guest.control(opRst) == packets }, 10*time.Second, time.Millisecond)
}

func TestStreamsAreBounded(t *testing.T) {
	r := newRig(t, eventFeatures)
	r.dev.mux.mu.Lock()
	for i := range maxStreams {
		k := streamKey{host: uint32(i), guest: 1}
		r.dev.mux.streams[k] = newStream(r.dev.mux, k)
	}
	r.dev.mux.mu.Unlock()
	_, err := r.dev.Dial(within(t, time.Second), portEcho)
	require.ErrorIs(t, err, errBusy)
}

func TestIndirectAndSplitChains(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portHold)
	// Header and payload over four buffers, one of them over the border of two
	// memory regions, all in an indirect table.
	h := header{srcCID: testCID, dstCID: hostCID, srcPort: portHold, dstPort: s.key.host, typ: typeStream, op: opRW, len: 100}
	var raw [headerLen]byte
	h.encode(&raw)
	packet := append(raw[:], make([]byte, 100)...)
	for i := range 100 {
		packet[headerLen+i] = byte(i)
	}
	const half = vhosttest.MemSize / 2
	at := []int{15 << 20, half - 50, 15<<20 + 4096, 15<<20 + 8192}
	size := []int{10, 100, 30, 4}
	r.guest.mu.Lock()
	table := r.fe.Mem[14<<20:]
	rest := packet
	for i := range at {
		copy(r.fe.Mem[at[i]:], rest[:size[i]])
		rest = rest[size[i]:]
		d := table[16*i:]
		binary.LittleEndian.PutUint64(d, vhosttest.BaseGPA+uint64(at[i]))
		binary.LittleEndian.PutUint32(d[8:], uint32(size[i]))
		flags := uint16(vhostuser.DescNext)
		if i == len(at)-1 {
			flags = 0
		}
		binary.LittleEndian.PutUint16(d[12:], flags)
		binary.LittleEndian.PutUint16(d[14:], uint16(i+1))
	}
	r.guest.mu.Unlock()
	r.breakTx(func(q *vhosttest.VQ) {
		q.SetDesc(127, vhosttest.BaseGPA+14<<20, uint32(16*len(at)), vhostuser.DescIndirect, 0)
	})
	got := make([]byte, 100)
	_, err := io.ReadFull(s, got)
	require.NoError(t, err)
	require.Equal(t, packet[headerLen:], got)
}

func TestReservedContextIDs(t *testing.T) {
	for _, cid := range []uint32{0, 1, 2, math.MaxUint32} {
		_, err := New(testLog(t), cid)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
}
