//go:build linux

package vhostuser

import (
	"encoding/binary"
	"io"
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

func TestMalformedRequestsAreRefused(t *testing.T) {
	const half = testMem / 2
	addr := func(desc, used, avail uint64) []byte { return words(0, desc, used, avail, 0) }
	r := newColdRig(t, eventFeatures)
	mem := []int{r.fe.fd, r.fe.fd, r.fe.fd, r.fe.fd, r.fe.fd, r.fe.fd, r.fe.fd, r.fe.fd}
	pipe, other, err := os.Pipe()
	require.NoError(t, err)
	defer pipe.Close()
	defer other.Close()
	r.fe.do(reqSetVringNum, state(1, 64))
	for _, c := range []struct {
		name string
		req  request
		body []byte
		fds  []int
	}{
		{"features not offered", reqSetFeatures, words(1 << 60), nil},
		{"features cut short", reqSetFeatures, []byte{1}, nil},
		{"protocol features not offered", reqSetProtocolFeatures, words(1 << 12), nil},
		{"unknown request", 999, nil, nil},
		{"config is read-only", reqSetConfig, make([]byte, 20), nil},
		{"queue size zero", reqSetVringNum, state(0, 0), nil},
		{"queue size no power of two", reqSetVringNum, state(0, 100), nil},
		{"queue size too large", reqSetVringNum, state(0, 65536), nil},
		{"queue that is not there", reqSetVringNum, state(3, 128), nil},
		{"vring state cut short", reqSetVringNum, []byte{0, 0, 0, 0, 1}, nil},
		{"vring state empty", reqSetVringEnable, nil, nil},
		{"base too large", reqSetVringBase, state(0, 70000), nil},
		{"addresses without a size", reqSetVringAddr, addr(baseUVA, baseUVA+4096, baseUVA+8192), nil},
		{"addresses cut short", reqSetVringAddr, words(1), nil},
		{"desc not aligned", reqSetVringAddr, words(1, baseUVA+8, baseUVA+4096, baseUVA+8192, 0), nil},
		{"used not aligned", reqSetVringAddr, words(1, baseUVA, baseUVA+4098, baseUVA+8192, 0), nil},
		{"avail not aligned", reqSetVringAddr, words(1, baseUVA, baseUVA+4096, baseUVA+8193, 0), nil},
		{"ring over the end of memory", reqSetVringAddr, words(1, baseUVA+testMem-16, baseUVA, baseUVA, 0), nil},
		{"ring over two regions", reqSetVringAddr, words(1, baseUVA+half-16, baseUVA, baseUVA, 0), nil},
		{"ring at the end of the address space", reqSetVringAddr, words(1, math.MaxUint64-15, baseUVA, baseUVA, 0), nil},
		{"kick without a descriptor", reqSetVringKick, words(1), nil},
		{"kick that must be polled", reqSetVringKick, words(1 | noFD), nil},
		{"kick that is a pipe", reqSetVringKick, words(1), []int{fdOf(pipe)}},
		{"call that is a pipe", reqSetVringCall, words(1), []int{fdOf(other)}},
		{"call of no queue", reqSetVringCall, words(7), []int{fdOf(other)}},
		{"memory table cut short", reqSetMemTable, words(1, baseGPA), mem[:1]},
		{"memory table empty", reqSetMemTable, words(0), nil},
		{"memory table without files", reqSetMemTable, memTableBody(), nil},
		{"memory table with a file too many", reqSetMemTable, memTableBody(), mem[:3]},
		{"memory table with too many regions", reqSetMemTable, append(words(9), make([]byte, 9*32)...), mem},
		{"memory region empty", reqSetMemTable, words(1, baseGPA, 0, baseUVA, 0), mem[:1]},
		{"memory region larger than its file", reqSetMemTable, words(1, baseGPA, testMem+1, baseUVA, 0), mem[:1]},
		{"memory region offset wraps", reqSetMemTable, words(1, baseGPA, 4096, baseUVA, math.MaxUint64-100), mem[:1]},
		{"memory region address wraps", reqSetMemTable, words(1, math.MaxUint64-100, 4096, baseUVA, 0), mem[:1]},
		{"memory regions overlap", reqSetMemTable, words(2, baseGPA, half, baseUVA, 0, baseGPA+4096, half, baseUVA+half, half), mem[:2]},
		{"memory in a pipe", reqSetMemTable, words(1, baseGPA, 4096, baseUVA, 0), []int{fdOf(pipe)}},
	} {
		require.False(t, r.fe.try(c.req, c.body, c.fds...), c.name)
	}
	require.Empty(t, r.fe.ask(reqGetConfig, append(state(4, 8), make([]byte, 12)...)), "config out of bounds")
	r.guest.start(0) // nothing of it has harmed the device
	echoOnce(t, r.dial(t, portEcho))
	require.False(t, r.fe.try(reqSetVringNum, state(0, 64)), "size of a running queue")
	require.False(t, r.fe.try(reqSetVringBase, state(0, 0)), "base of a running queue")
}

func TestMessagesThatEndTheConnection(t *testing.T) {
	fds := make([]int, maxMsgFDs+1)
	for name, send := range map[string]func(f *frontEnd){
		"wrong version":    func(f *frontEnd) { f.raw(make([]byte, msgHeaderLen)) },
		"reply to nothing": func(f *frontEnd) { f.raw(encodeReply(reqGetFeatures, nil)) },
		"huge body":        func(f *frontEnd) { f.raw(words(1|1<<32, 1<<20)[:msgHeaderLen]) },
		"cut header":       func(f *frontEnd) { f.raw([]byte{1, 0, 0}); _ = f.sock.CloseWrite() },
		"cut body":         func(f *frontEnd) { f.raw(encodeRequest(2, 0, u64(1))[:15]); _ = f.sock.CloseWrite() },
		"too many descriptors": func(f *frontEnd) {
			for i := range fds {
				fds[i] = f.fd
			}
			f.send(reqSetMemTable, 0, nil, fds...)
		},
		"error that cannot be told": func(f *frontEnd) { f.send(reqSetVringNum, 0, nil) },
		"get of no queue":           func(f *frontEnd) { f.send(reqGetVringBase, flagNeedReply, state(9, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newColdRig(t, eventFeatures)
			send(r.fe)
			_, err := r.dev.Dial(within(t, 5*time.Second), portEcho)
			require.ErrorIs(t, err, domain.ErrNotRunning)
		})
	}
}

func (f *frontEnd) raw(b []byte) {
	_, err := f.sock.Write(b)
	require.NoError(f.t, err)
}

// breakTx offers one chain on the transmit queue that make writes.
func (r *rig) breakTx(make func(q *vq)) {
	r.guest.mu.Lock()
	defer r.guest.mu.Unlock()
	old := r.guest.tx.availIdx
	make(r.guest.tx)
	r.guest.tx.offer(127)
	r.guest.tx.notify(old)
}

func TestMalformedChainsStopTheDevice(t *testing.T) {
	for name, chain := range map[string]func(q *vq){
		"outside memory":       func(q *vq) { q.setDesc(127, baseGPA+testMem, 44, 0, 0) },
		"over the end":         func(q *vq) { q.setDesc(127, baseGPA+testMem-10, 44, 0, 0) },
		"address wraps":        func(q *vq) { q.setDesc(127, math.MaxUint64-10, 44, 0, 0) },
		"loop":                 func(q *vq) { q.setDesc(127, baseGPA, 44, descNext, 127) },
		"next out of range":    func(q *vq) { q.setDesc(127, baseGPA, 44, descNext, 128) },
		"indirect empty":       func(q *vq) { q.setDesc(127, baseGPA, 0, descIndirect, 0) },
		"indirect odd":         func(q *vq) { q.setDesc(127, baseGPA+15<<20, 17, descIndirect, 0) },
		"indirect huge":        func(q *vq) { q.setDesc(127, baseGPA, 16*65537, descIndirect, 0) },
		"indirect with next":   func(q *vq) { q.setDesc(127, baseGPA+15<<20, 16, descIndirect|descNext, 0) },
		"indirect outside":     func(q *vq) { q.setDesc(127, baseGPA+testMem-8, 16, descIndirect, 0) },
		"indirect in indirect": func(q *vq) { q.setDesc(127, baseGPA+uint64(q.desc)+127*16, 16, descIndirect, 0) },
		"head out of range": func(q *vq) {
			q.offer(500)
		},
		"more chains than the queue has": func(q *vq) { q.availIdx += 1000 },
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
	for i := range ringSize {
		r.guest.rx.setDesc(i, baseGPA+rxBufs, headerLen-1, descWrite, 0)
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
	h.encode((*[headerLen]byte)(r.fe.mem[at:]))
	copy(r.fe.mem[at+headerLen:], data)
	old := r.guest.tx.availIdx
	r.guest.tx.setDesc(int(head), baseGPA+uint64(at), uint32(headerLen+len(data)), 0, 0)
	r.guest.tx.offer(head)
	r.guest.tx.notify(old)
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
	r.breakTx(func(q *vq) { q.setDesc(127, baseGPA+txBufs, headerLen-1, 0, 0) })
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
		r.dev.mux.rx.mu.Lock()
		defer r.dev.mux.rx.mu.Unlock()
		return len(r.dev.mux.out.strays)
	}
	require.Eventually(t, func() bool { return waiting() == strayLimit }, 5*time.Second, time.Millisecond)
	require.Never(t, func() bool { return waiting() > strayLimit }, 50*time.Millisecond, time.Millisecond)
	r.guest.mu.Lock()
	r.guest.noRx = false
	r.guest.mu.Unlock()
	r.guest.feed(ringSize)
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
	const half = testMem / 2
	at := []int{15 << 20, half - 50, 15<<20 + 4096, 15<<20 + 8192}
	size := []int{10, 100, 30, 4}
	r.guest.mu.Lock()
	table := r.fe.mem[14<<20:]
	rest := packet
	for i := range at {
		copy(r.fe.mem[at[i]:], rest[:size[i]])
		rest = rest[size[i]:]
		d := table[16*i:]
		binary.LittleEndian.PutUint64(d, baseGPA+uint64(at[i]))
		binary.LittleEndian.PutUint32(d[8:], uint32(size[i]))
		flags := uint16(descNext)
		if i == len(at)-1 {
			flags = 0
		}
		binary.LittleEndian.PutUint16(d[12:], flags)
		binary.LittleEndian.PutUint16(d[14:], uint16(i+1))
	}
	r.guest.mu.Unlock()
	r.breakTx(func(q *vq) { q.setDesc(127, baseGPA+14<<20, uint32(16*len(at)), descIndirect, 0) })
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

func TestMapLogBounds(t *testing.T) {
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 8192))
	for _, c := range [][2]uint64{{0, 0}, {8193, 0}, {4096, 4100}, {math.MaxUint64, 0}, {4096, math.MaxUint64}, {4096, 2}} {
		_, err := mapLog(fd, c[0], c[1])
		require.Error(t, err, c)
	}
	l, err := mapLog(fd, 4096, 4096)
	require.NoError(t, err)
	defer l.unmap()
	l.mark(4096*40-1, 2)
	l.mark(1<<60, 10) // outside
	require.Equal(t, []byte{0, 0, 0, 0, 1 << 7, 1 << 0}, l.bits[:6])
}
