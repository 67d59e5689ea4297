//go:build linux

package vhostuser

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// FuzzRequests sends a sequence of requests with arbitrary bodies, some with
// real descriptors, to the dispatcher.
func FuzzRequests(f *testing.F) {
	add := func(parts ...[]byte) {
		var b []byte
		for _, p := range parts {
			b = append(b, p...)
		}
		f.Add(b)
	}
	one := func(req request, fds byte, body []byte) []byte {
		return append([]byte{byte(req), fds, byte(len(body))}, body...)
	}
	add(one(reqSetMemTable, 1, words(1, baseGPA, 65536, baseUVA, 0)), one(reqSetVringNum, 0, state(1, 8)),
		one(reqSetVringAddr, 0, words(1, baseUVA, baseUVA+4096, baseUVA+8192, 0)),
		one(reqSetVringKick, 2, words(1)), one(reqSetVringEnable, 0, state(1, 1)), one(reqGetVringBase, 0, state(1, 0)))
	add(one(reqSetLogBase, 1, words(4096, 0)), one(reqSetFeatures, 0, words(offeredFeatures)), one(reqResetDevice, 0, nil))
	add(one(reqGetConfig, 0, append(state(0, 8), make([]byte, 12)...)), one(reqSetOwner, 0, nil))
	f.Fuzz(func(t *testing.T, script []byte) {
		before := openFDs(t)
		d, err := New(testLog(t), testCID)
		require.NoError(t, err)
		c := &controller{log: d.log, cid: testCID, queues: d.ctl.queues, changed: d.ctl.changed, reset: d.ctl.reset}
		for steps := 0; len(script) >= 3 && steps < 64; steps++ {
			n := min(int(script[2]), len(script)-3)
			m := &message{msgHeader: msgHeader{req: request(script[0])}, body: script[3 : 3+n]}
			switch script[1] % 4 {
			case 1:
				fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
				require.NoError(t, err)
				require.NoError(t, unix.Ftruncate(fd, 65536))
				m.fds = append(m.fds, fd)
			case 2:
				fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
				require.NoError(t, err)
				m.fds = append(m.fds, fd)
			}
			script = script[3+n:]
			reply, err := c.handle(m)
			m.closeFDs()
			if err == nil && m.req.answers() != (reply != nil) {
				t.Fatalf("request %d with reply %v", m.req, reply)
			}
		}
		c.release("end")
		require.NoError(t, d.Close())
		require.Equal(t, before, openFDs(t))
	})
}

// FuzzMessageFraming sends raw bytes through a socket.
func FuzzMessageFraming(f *testing.F) {
	f.Add(encodeRequest(reqGetFeatures, 0, nil))
	f.Add(append(encodeRequest(reqSetFeatures, flagNeedReply, words(featVersion1)), encodeRequest(reqGetQueueNum, 0, nil)...))
	f.Add(encodeRequest(reqSetMemTable, 0, words(1, 2, 3, 4, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16<<10 {
			return
		}
		sock, front, err := socketPair()
		require.NoError(t, err)
		_, err = front.Write(b)
		require.NoError(t, err)
		require.NoError(t, front.Close())
		require.NoError(t, sock.SetReadDeadline(time.Now().Add(time.Second)))
		for {
			m, err := readMessage(sock)
			if err != nil {
				break
			}
			require.LessOrEqual(t, len(m.body), maxMsgBody)
			m.closeFDs()
		}
		require.NoError(t, sock.Close())
	})
}

// FuzzPackets hands arbitrary packets of the guest to streams in several
// states.
func FuzzPackets(f *testing.F) {
	pkt := func(h header, n int) []byte {
		var raw [headerLen]byte
		h.len = uint32(n)
		h.encode(&raw)
		return append(append([]byte{byte(n)}, raw[:]...), make([]byte, n)...)
	}
	base := header{srcCID: testCID, dstCID: hostCID, srcPort: 1, dstPort: firstPort, typ: typeStream, alloc: 1000}
	for op := range uint16(9) {
		h := base
		h.op, h.flags = op, uint32(op)
		f.Add(append(pkt(h, 10), pkt(h, 0)...), uint8(op))
	}
	f.Fuzz(func(t *testing.T, script []byte, cut uint8) {
		m := newMux(testLog(t), testCID, newQueue(rxQueue), newQueue(txQueue))
		var streams []*Stream
		for i := range 3 {
			s, err := m.register(uint32(i))
			require.NoError(t, err)
			streams = append(streams, s)
		}
		streams[1].accepted()
		for len(script) > headerLen {
			n := min(int(script[0]), len(script)-1-headerLen)
			p := append([]byte(nil), script[1:1+headerLen+n]...)
			script = script[1+headerLen+n:]
			if cut%2 == 0 { // make most of them reach a stream
				binary.LittleEndian.PutUint64(p, testCID)
				binary.LittleEndian.PutUint64(p[8:], hostCID)
				binary.LittleEndian.PutUint32(p[16:], binary.LittleEndian.Uint32(p[16:])%4)
				binary.LittleEndian.PutUint32(p[20:], firstPort+binary.LittleEndian.Uint32(p[20:])%4)
				binary.LittleEndian.PutUint16(p[28:], typeStream)
				binary.LittleEndian.PutUint16(p[30:], binary.LittleEndian.Uint16(p[30:])%9)
			}
			at := min(int(cut), len(p))
			m.packet([]segment{{mem: p[:at]}, {mem: p[at:]}})
		}
		for _, s := range streams {
			require.LessOrEqual(t, s.recv.len(), recvWindow)
			room := s.credit.room()
			require.LessOrEqual(t, room, s.credit.alloc)
			_ = s.Close()
		}
		require.LessOrEqual(t, len(m.out.control), len(streams))
	})
}

// FuzzChains walks descriptor chains in memory that the driver wrote.
func FuzzChains(f *testing.F) {
	good := make([]byte, 64)
	binary.LittleEndian.PutUint64(good, baseGPA+100)
	binary.LittleEndian.PutUint32(good[8:], 44)
	f.Add(good, uint16(1), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, avail, head uint16) {
		mem := make([]byte, 8192)
		copy(mem, b)
		binary.LittleEndian.PutUint16(mem[4096+2:], avail)
		for i := range 16 {
			binary.LittleEndian.PutUint16(mem[4096+4+2*i:], head+uint16(i))
		}
		table := &memTable{regions: []region{{regionSpec: regionSpec{gpa: baseGPA, size: 8192, uva: baseUVA}, mem: mem}}}
		var r ring
		require.NoError(t, r.bind(table, 16, ringAddr{desc: baseUVA, avail: baseUVA + 4096, used: baseUVA + 6144}))
		for range 40 {
			head, segs, ok, err := r.pop()
			if !ok || err != nil {
				return
			}
			require.Less(t, head, uint16(16))
			require.LessOrEqual(t, len(segs), maxChain)
			for _, s := range segs {
				require.GreaterOrEqual(t, s.gpa, uint64(baseGPA))
				require.LessOrEqual(t, s.gpa+uint64(len(s.mem)), uint64(baseGPA+8192))
			}
			r.push(head, 0)
			r.askKick()
			r.wantsSignal()
		}
	})
}
