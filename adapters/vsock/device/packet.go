//go:build linux

package device

import (
	"encoding/binary"

	"arcbox/adapters/internal/vhostuser"
)

// Packet header, operations and flags: VIRTIO 1.2, section 5.10.6.
const (
	headerLen = 44

	hostCID    = 2
	typeStream = 1

	opRequest       = 1
	opResponse      = 2
	opRst           = 3
	opShutdown      = 4
	opRW            = 5
	opCreditUpdate  = 6
	opCreditRequest = 7

	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

// header is struct virtio_vsock_hdr.
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	len              uint32
	typ, op          uint16
	flags            uint32
	alloc, fwd       uint32
}

func (h *header) encode(b *[headerLen]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], h.typ)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.alloc)
	le.PutUint32(b[40:], h.fwd)
}

func decodeHeader(b *[headerLen]byte) header {
	le := binary.LittleEndian
	return header{
		srcCID: le.Uint64(b[0:]), dstCID: le.Uint64(b[8:]),
		srcPort: le.Uint32(b[16:]), dstPort: le.Uint32(b[20:]),
		len: le.Uint32(b[24:]), typ: le.Uint16(b[28:]), op: le.Uint16(b[30:]),
		flags: le.Uint32(b[32:]), alloc: le.Uint32(b[36:]), fwd: le.Uint32(b[40:]),
	}
}

// gather takes the header off the readable part of a chain. The rest of the
// segments is the payload. ok is false when the chain is shorter than a header.
func gather(segs []vhostuser.Segment) (h header, payload []vhostuser.Segment, ok bool) {
	var raw [headerLen]byte
	got := 0
	for i := range segs {
		if segs[i].Writable {
			break
		}
		n := copy(raw[got:], segs[i].Mem)
		got += n
		segs[i].Mem = segs[i].Mem[n:]
		if got == headerLen {
			return decodeHeader(&raw), segs[i:], true
		}
	}
	return header{}, nil, false
}

// readable is the number of bytes the driver put into segs.
func readable(segs []vhostuser.Segment) int {
	n := 0
	for i := range segs {
		if segs[i].Writable {
			break
		}
		n += len(segs[i].Mem)
	}
	return n
}

// scatter writes a header, with its length set, and as much of data as fits
// into the writable part of a chain. It returns the bytes of data taken, or -1
// when not even the header fits.
func scatter(segs []vhostuser.Segment, h header, data []byte, q *vhostuser.Queue) int {
	room := 0
	for i := range segs {
		if segs[i].Writable {
			room += len(segs[i].Mem)
		}
	}
	if room < headerLen {
		return -1
	}
	taken := min(len(data), room-headerLen)
	h.len = uint32(taken)
	var raw [headerLen]byte
	h.encode(&raw)
	head, body := raw[:], data[:taken]
	for i := range segs {
		if !segs[i].Writable {
			continue
		}
		b := segs[i].Mem
		n := copy(b, head)
		head = head[n:]
		if len(head) == 0 {
			k := copy(b[n:], body)
			body, n = body[k:], n+k
		}
		q.Wrote(segs[i], n)
	}
	return taken
}
