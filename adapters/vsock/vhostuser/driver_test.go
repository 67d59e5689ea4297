//go:build linux

package vhostuser

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// vq is the driver's side of a split ring, in the memory of a front-end.
type vq struct {
	index              int
	mem                []byte
	desc, avail, used  int // offsets in the memory
	availIdx, lastUsed uint16
	eventIdx           bool
	kick, call         *os.File
}

func eventFD(t testing.TB) *os.File {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	return os.NewFile(uintptr(fd), "eventfd")
}

func newVQ(t testing.TB, f *frontEnd, index int, features uint64) *vq {
	at := index * 64 << 10
	q := &vq{
		index: index, mem: f.mem, desc: at, avail: at + 16<<10, used: at + 32<<10,
		eventIdx: features&featEventIdx != 0, kick: eventFD(t), call: eventFD(t),
	}
	clear(f.mem[at : at+64<<10])
	return q
}

func (q *vq) close() {
	_ = q.kick.Close()
	_ = q.call.Close()
}

// start hands the ring over, as a front-end does when the driver is ready.
func (q *vq) start(f *frontEnd, base uint16) {
	i := uint32(q.index)
	f.do(reqSetVringNum, state(i, ringSize))
	f.do(reqSetVringBase, state(i, uint32(base)))
	f.do(reqSetVringAddr, words(uint64(i), baseUVA+uint64(q.desc), baseUVA+uint64(q.used), baseUVA+uint64(q.avail), 0))
	f.do(reqSetVringCall, words(uint64(i)), fdOf(q.call))
	f.do(reqSetVringKick, words(uint64(i)), fdOf(q.kick))
	f.do(reqSetVringEnable, state(i, 1))
}

// fdOf is Fd without its side effect of making the file blocking.
func fdOf(f *os.File) (fd int) {
	c, err := f.SyscallConn()
	if err == nil {
		_ = c.Control(func(p uintptr) { fd = int(p) })
	}
	return fd
}

func (q *vq) setDesc(i int, gpa uint64, n uint32, flags, next uint16) {
	d := q.mem[q.desc+16*i:]
	binary.LittleEndian.PutUint64(d, gpa)
	binary.LittleEndian.PutUint32(d[8:], n)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

// offer makes a chain available.
func (q *vq) offer(head uint16) {
	binary.LittleEndian.PutUint16(q.mem[q.avail+4+2*int(q.availIdx%ringSize):], head)
	q.availIdx++
	atomic.StoreUint32(word(q.mem, q.avail), uint32(q.availIdx)<<16)
}

// notify kicks the device if it wants that after offers since old.
func (q *vq) notify(old uint16) {
	var fence uint32
	atomic.AddUint32(&fence, 1)
	want := *half(q.mem, q.used)&usedNoNotify == 0
	if q.eventIdx {
		want = needEvent(*half(q.mem, q.used+4+8*ringSize), q.availIdx, old)
	}
	if want {
		one := [8]byte{1}
		_, _ = q.kick.Write(one[:])
	}
}

// collect takes one used chain.
func (q *vq) collect() (head uint32, n uint32, ok bool) {
	if uint16(atomic.LoadUint32(word(q.mem, q.used))>>16) == q.lastUsed {
		return 0, 0, false
	}
	e := q.mem[q.used+4+8*int(q.lastUsed%ringSize):]
	q.lastUsed++
	return binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), true
}

// wantSignal asks the device for a signal; true when there is something now.
func (q *vq) wantSignal() bool {
	if q.eventIdx {
		*half(q.mem, q.avail+4+2*ringSize) = q.lastUsed
	}
	var fence uint32
	atomic.AddUint32(&fence, 1)
	return uint16(atomic.LoadUint32(word(q.mem, q.used))>>16) != q.lastUsed
}
