//go:build linux

package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

const (
	maxQueueSize = 32768
	// A driver may use longer indirect chains than the queue has entries; what
	// devices here exchange needs a header and at most 17 pages.
	maxChain = 1024

	descLen = 16

	availNoInterrupt = 1
	// UsedNoNotify is the flag of a used ring whose device wants no kicks.
	UsedNoNotify = 1
)

// Flags of a descriptor.
const (
	DescNext     = 1
	DescWrite    = 2
	DescIndirect = 4
)

var errChain = errors.New("malformed descriptor chain")

// Segment is a piece of a descriptor chain: guest memory, which the guest may
// change at any time.
type Segment struct {
	Mem      []byte
	GPA      uint64
	Writable bool // the device writes it, and only reads the others
}

// ring is a split virtqueue (VIRTIO 1.2, section 2.7). Its owner serialises
// all calls. The indices are accessed as whole aligned words with sequentially
// consistent atomics, because the driver runs at the same time on other CPUs.
type ring struct {
	mem       *memTable
	log       *dirtyLog
	desc      []byte
	avail     []byte
	used      []byte
	usedGPA   uint64 // where writes to the used ring are logged
	logUsed   bool
	num       uint16
	lastAvail uint16 // next available entry to take
	usedIdx   uint16 // next used entry to write
	signalled uint16 // usedIdx at the last decision about a signal
	pushed    uint64 // chains given back, ever
	everSent  bool
	eventIdx  bool
	fence     uint32
	segs      []Segment // of the chains taken since the last pop
	first     int       // of segs, of the chain that is walked
}

// ringAddr are the addresses of the parts of a ring in the front-end's process.
type ringAddr struct {
	desc, used, avail uint64
	usedGPA           uint64
	logUsed           bool
}

// bind maps the parts of the ring, or leaves it as it was.
func (r *ring) bind(m *memTable, num uint16, a ringAddr) error {
	n := uint64(num)
	switch {
	case m == nil:
		return errors.New("ring addresses before a memory table")
	case n == 0:
		return errors.New("ring addresses before a queue size")
	// The specification lets the available ring start at any even address; a
	// multiple of four makes its flags and index one word, and all drivers
	// put it behind the descriptors anyway.
	case a.desc%descLen != 0 || a.avail%4 != 0 || a.used%4 != 0:
		return fmt.Errorf("ring addresses %#x, %#x, %#x are not aligned", a.desc, a.avail, a.used)
	}
	desc, avail, used := m.ring(a.desc, descLen*n), m.ring(a.avail, 6+2*n), m.ring(a.used, 6+8*n)
	if desc == nil || avail == nil || used == nil {
		return errors.New("ring is not inside one memory region")
	}
	if uintptr(unsafe.Pointer(&avail[0]))%4 != 0 || uintptr(unsafe.Pointer(&used[0]))%4 != 0 {
		return errors.New("memory region is not aligned")
	}
	r.mem, r.num, r.desc, r.avail, r.used = m, num, desc, avail, used
	r.usedGPA, r.logUsed = a.usedGPA, a.logUsed
	r.usedIdx = uint16(atomic.LoadUint32(word(r.used, 0)) >> 16)
	r.everSent = false
	return nil
}

func (r *ring) unbind() {
	r.mem, r.desc, r.avail, r.used = nil, nil, nil, nil
	clear(r.segs[:cap(r.segs)])
}

func (r *ring) bound() bool { return r.desc != nil }

func word(b []byte, o int) *uint32 { return (*uint32)(unsafe.Pointer(&b[o])) }
func half(b []byte, o int) *uint16 { return (*uint16)(unsafe.Pointer(&b[o])) }

// barrier orders earlier stores before later loads of this side. The
// read-modify-write is a full barrier on amd64 and arm64.
func (r *ring) barrier() { atomic.AddUint32(&r.fence, 1) }

// pending is the number of chains the driver has made available and nobody
// has taken. A driver that claims more than the queue has is lying.
func (r *ring) pending() (int, error) {
	n := uint16(atomic.LoadUint32(word(r.avail, 0))>>16) - r.lastAvail
	if n > r.num {
		return 0, fmt.Errorf("driver offers %d chains in a queue of %d", n, r.num)
	}
	return int(n), nil
}

// pop takes the next chain; the segments are valid until the next pop. ok is
// false when there is none.
func (r *ring) pop() (head uint16, segs []Segment, ok bool, err error) {
	r.segs = r.segs[:0]
	return r.popMore()
}

// popMore takes the next chain and leaves the segments of those that were taken
// since the last pop valid.
func (r *ring) popMore() (head uint16, segs []Segment, ok bool, err error) {
	n, err := r.pending()
	if n == 0 || err != nil {
		return 0, nil, false, err
	}
	head = *half(r.avail, 4+2*int(r.lastAvail&(r.num-1)))
	r.lastAvail++
	r.first = len(r.segs)
	if err := r.walk(r.desc, int(r.num), head, false); err != nil {
		return 0, nil, false, err
	}
	return head, r.segs[r.first:], true, nil
}

// unpop gives back the last n chains that were taken, which are not yet used.
func (r *ring) unpop(n int) { r.lastAvail -= uint16(n) }

func (r *ring) walk(table []byte, num int, first uint16, indirect bool) error {
	le := binary.LittleEndian
	i := int(first)
	for seen := 0; ; seen++ {
		if i >= num || seen >= num {
			return errChain
		}
		// One copy: the driver could change a descriptor between check and use.
		var e [descLen]byte
		copy(e[:], table[descLen*i:])
		addr, n, flags := le.Uint64(e[0:]), uint64(le.Uint32(e[8:])), le.Uint16(e[12:])
		if flags&DescIndirect != 0 {
			if indirect || flags&DescNext != 0 || n == 0 || n%descLen != 0 || n/descLen > maxChain {
				return errChain
			}
			t := r.mem.at(addr, n)
			if uint64(len(t)) != n {
				return errChain
			}
			return r.walk(t, int(n/descLen), 0, true)
		}
		if err := r.add(addr, n, flags&DescWrite != 0); err != nil {
			return err
		}
		if flags&DescNext == 0 {
			return nil
		}
		i = int(le.Uint16(e[14:]))
	}
}

// add appends a buffer, split where one memory region ends and the next begins.
func (r *ring) add(gpa, n uint64, writable bool) error {
	for n > 0 {
		m := r.mem.at(gpa, n)
		if len(m) == 0 || len(r.segs)-r.first == maxChain {
			return errChain
		}
		r.segs = append(r.segs, Segment{Mem: m, GPA: gpa, Writable: writable})
		gpa, n = gpa+uint64(len(m)), n-uint64(len(m))
	}
	return nil
}

// push gives a chain back with n bytes written to it.
func (r *ring) push(head uint16, n int) {
	r.put(head, n)
	r.flush()
}

// put is push without telling the driver yet: for that there is flush.
func (r *ring) put(head uint16, n int) {
	o := 4 + 8*int(r.usedIdx&(r.num-1))
	*word(r.used, o) = uint32(head)
	*word(r.used, o+4) = uint32(n)
	r.usedIdx++
	r.pushed++
	if r.logUsed {
		r.log.mark(r.usedGPA+uint64(o), 8)
	}
}

// flush shows the driver, at once, all that was put.
func (r *ring) flush() {
	r.publish(uint32(*half(r.used, 0)))
	r.logFlags(0, 4)
}

// publish stores flags and index of the used ring; both are this side's.
func (r *ring) publish(flags uint32) {
	atomic.StoreUint32(word(r.used, 0), uint32(r.usedIdx)<<16|flags)
}

// wantsSignal decides whether the driver must be told about what was pushed
// since the last call.
func (r *ring) wantsSignal() bool {
	r.barrier()
	if !r.eventIdx {
		return atomic.LoadUint32(word(r.avail, 0))&availNoInterrupt == 0
	}
	if r.everSent && r.usedIdx == r.signalled {
		return false
	}
	event := *half(r.avail, 4+2*int(r.num))
	want := !r.everSent || needEvent(event, r.usedIdx, r.signalled)
	r.signalled, r.everSent = r.usedIdx, true
	return want
}

// needEvent says whether an index that moved from old to now has passed event
// (vring_need_event of VIRTIO 1.2, section 2.7.10.1).
func needEvent(event, now, old uint16) bool { return now-event-1 < now-old }

// askKick asks the driver for a notification at the next chain it offers; it
// is true when a chain is there already and the caller has to look again.
func (r *ring) askKick() bool {
	if r.eventIdx {
		*half(r.used, 4+8*int(r.num)) = r.lastAvail
		r.logFlags(4+8*int(r.num), 2)
	} else {
		r.publish(0)
		r.logFlags(0, 4)
	}
	r.barrier()
	n, err := r.pending()
	return n > 0 || err != nil
}

// refuseKick spares the driver notifications while the queue is looked at
// anyway. With EVENT_IDX an event index of the past does the same.
func (r *ring) refuseKick() {
	if !r.eventIdx {
		r.publish(UsedNoNotify)
		r.logFlags(0, 4)
	}
}

func (r *ring) logFlags(off, n int) {
	if r.logUsed {
		r.log.mark(r.usedGPA+uint64(off), n)
	}
}
