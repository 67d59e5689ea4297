//go:build linux

// Package vhosttest is a hypervisor and a driver for tests of vhost-user devices.
package vhosttest

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
)

// VQ is the driver's side of a split ring, in the memory of a front-end.
type VQ struct {
	Index              int
	Mem                []byte
	Desc, Avail, Used  int // offsets in the memory
	AvailIdx, LastUsed uint16
	EventIdx           bool
	Kick, Call         *os.File
}

// EventFD makes one that does not block.
func EventFD(t testing.TB) *os.File {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	return os.NewFile(uintptr(fd), "eventfd")
}

// NewVQ lays out a ring in the memory, RingSize long.
func NewVQ(t testing.TB, f *FrontEnd, index int, features uint64) *VQ {
	at := index * 64 << 10
	q := &VQ{
		Index: index, Mem: f.Mem, Desc: at, Avail: at + 16<<10, Used: at + 32<<10,
		EventIdx: features&vhostuser.FeatEventIdx != 0, Kick: EventFD(t), Call: EventFD(t),
	}
	clear(f.Mem[at : at+64<<10])
	return q
}

// Close ends kicks and calls.
func (q *VQ) Close() {
	_ = q.Kick.Close()
	_ = q.Call.Close()
}

// Start hands the ring over, as a front-end does when the driver is ready.
func (q *VQ) Start(f *FrontEnd, base uint16) {
	i := uint32(q.Index)
	f.Do(vhostuser.ReqSetVringNum, State(i, RingSize))
	f.Do(vhostuser.ReqSetVringBase, State(i, uint32(base)))
	f.Do(vhostuser.ReqSetVringAddr, Words(uint64(i), BaseUVA+uint64(q.Desc), BaseUVA+uint64(q.Used), BaseUVA+uint64(q.Avail), 0))
	f.Do(vhostuser.ReqSetVringCall, Words(uint64(i)), FDOf(q.Call))
	f.Do(vhostuser.ReqSetVringKick, Words(uint64(i)), FDOf(q.Kick))
	f.Do(vhostuser.ReqSetVringEnable, State(i, 1))
}

// FDOf is Fd without its side effect of making the file blocking.
func FDOf(f *os.File) (fd int) {
	c, err := f.SyscallConn()
	if err == nil {
		_ = c.Control(func(p uintptr) { fd = int(p) })
	}
	return fd
}

// SetDesc writes a descriptor.
func (q *VQ) SetDesc(i int, gpa uint64, n uint32, flags, next uint16) {
	d := q.Mem[q.Desc+16*i:]
	binary.LittleEndian.PutUint64(d, gpa)
	binary.LittleEndian.PutUint32(d[8:], n)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

// Offer makes a chain available.
func (q *VQ) Offer(head uint16) {
	binary.LittleEndian.PutUint16(q.Mem[q.Avail+4+2*int(q.AvailIdx%RingSize):], head)
	q.AvailIdx++
	atomic.StoreUint32(word(q.Mem, q.Avail), uint32(q.AvailIdx)<<16)
}

// Notify kicks the device if it wants that after offers since old.
func (q *VQ) Notify(old uint16) {
	var fence uint32
	atomic.AddUint32(&fence, 1)
	want := *half(q.Mem, q.Used)&vhostuser.UsedNoNotify == 0
	if q.EventIdx {
		want = needEvent(*half(q.Mem, q.Used+4+8*RingSize), q.AvailIdx, old)
	}
	if want {
		one := [8]byte{1}
		_, _ = q.Kick.Write(one[:])
	}
}

// Collect takes one used chain.
func (q *VQ) Collect() (head uint32, n uint32, ok bool) {
	if uint16(atomic.LoadUint32(word(q.Mem, q.Used))>>16) == q.LastUsed {
		return 0, 0, false
	}
	e := q.Mem[q.Used+4+8*int(q.LastUsed%RingSize):]
	q.LastUsed++
	return binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), true
}

// WantSignal asks the device for a signal; true when there is something now.
func (q *VQ) WantSignal() bool {
	if q.EventIdx {
		*half(q.Mem, q.Avail+4+2*RingSize) = q.LastUsed
	}
	var fence uint32
	atomic.AddUint32(&fence, 1)
	return uint16(atomic.LoadUint32(word(q.Mem, q.Used))>>16) != q.LastUsed
}

func word(b []byte, o int) *uint32 { return (*uint32)(unsafe.Pointer(&b[o])) }
func half(b []byte, o int) *uint16 { return (*uint16)(unsafe.Pointer(&b[o])) }

// needEvent is vring_need_event of VIRTIO 1.2, section 2.7.10.1.
func needEvent(event, now, old uint16) bool { return now-event-1 < now-old }
