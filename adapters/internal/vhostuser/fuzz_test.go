//go:build linux

package vhostuser

import (
	"encoding/binary"
	"log/slog"
	"net"
	"os"
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
	one := func(req Request, fds byte, body []byte) []byte {
		return append([]byte{byte(req), fds, byte(len(body))}, body...)
	}
	add(one(ReqSetMemTable, 1, words(1, baseGPA, 65536, baseUVA, 0)), one(ReqSetVringNum, 0, state(1, 8)),
		one(ReqSetVringAddr, 0, words(1, baseUVA, baseUVA+4096, baseUVA+8192, 0)),
		one(ReqSetVringKick, 2, words(1)), one(ReqSetVringEnable, 0, state(1, 1)), one(ReqGetVringBase, 0, state(1, 0)))
	add(one(ReqSetLogBase, 1, words(4096, 0)), one(ReqSetFeatures, 0, words(ringFeatures)), one(ReqResetDevice, 0, nil))
	add(one(ReqGetConfig, 0, append(state(0, 8), make([]byte, 12)...)), one(ReqSetOwner, 0, nil))
	f.Fuzz(func(t *testing.T, script []byte) {
		before := openFDs(t)
		srv := New(slog.New(slog.DiscardHandler), nil, testDevice())
		for i := range 2 {
			q := srv.Queue(i)
			q.OnKick = func() { giveBack(q) }
		}
		c := srv.ctl
		for steps := 0; len(script) >= 3 && steps < 64; steps++ {
			n := min(int(script[2]), len(script)-3)
			m := &message{msgHeader: msgHeader{req: Request(script[0])}, body: script[3 : 3+n]}
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
		require.Equal(t, before, openFDs(t))
	})
}

// FuzzMessageFraming sends raw bytes through a socket.
func FuzzMessageFraming(f *testing.F) {
	f.Add(encodeRequest(ReqGetFeatures, 0, nil))
	f.Add(append(encodeRequest(ReqSetFeatures, flagNeedReply, words(FeatVersion1)), encodeRequest(ReqGetQueueNum, 0, nil)...))
	f.Add(encodeRequest(ReqSetMemTable, 0, words(1, 2, 3, 4, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 16<<10 {
			return
		}
		sock, front := socketPair(t)
		_, err := front.Write(b)
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
				require.GreaterOrEqual(t, s.GPA, uint64(baseGPA))
				require.LessOrEqual(t, s.GPA+uint64(len(s.Mem)), uint64(baseGPA+8192))
			}
			r.push(head, 0)
			r.askKick()
			r.wantsSignal()
		}
	})
}

// testDevice has two queues and a configuration.
func testDevice() Device {
	return Device{
		Name: "test", Queues: 2, Config: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		Negotiated: func(uint64) {}, Changed: func() {}, Restarted: func(int) {}, Reset: func(string) {},
	}
}

// giveBack returns what the driver offers.
func giveBack(q *Queue) {
	q.Lock()
	defer q.Unlock()
	for q.Live() {
		head, _, ok, err := q.Pop()
		if err != nil {
			_ = q.Break(err)
			return
		}
		if !ok {
			return
		}
		q.Push(head, 0)
		q.WantsSignal()
	}
}

func socketPair(t testing.TB) (*net.UnixConn, *os.File) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	own := os.NewFile(uintptr(fds[0]), "device")
	conn, err := net.FileConn(own)
	require.NoError(t, err)
	require.NoError(t, own.Close())
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "front-end")
}

func openFDs(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func state(index, value uint32) []byte { return words(uint64(value)<<32 | uint64(index)) }

func encodeRequest(req Request, flags uint32, body []byte) []byte {
	b := encodeReply(req, body)
	binary.LittleEndian.PutUint32(b[4:], flagVersion|flags)
	return b
}

const (
	baseGPA = 0x4000_0000
	baseUVA = 0x7f00_0000_0000
)
