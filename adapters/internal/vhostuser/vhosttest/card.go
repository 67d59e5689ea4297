//go:build linux

package vhosttest

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"arcbox/adapters/internal/vhostuser"
)

const (
	// VnetLen is struct virtio_net_hdr_v1 (VIRTIO 1.2, section 5.1.6).
	VnetLen = 12
	// Mergeable is VIRTIO_NET_F_MRG_RXBUF.
	Mergeable = 1 << 15

	rxBufs   = 1 << 20 // offsets in the memory
	rxBuf    = 4096
	txBufs   = 4 << 20 // over the border of the two regions
	txBuf    = 72 << 10
	txSlots  = 100
	allRings = vhostuser.FeatVersion1 | vhostuser.FeatProtocol | vhostuser.FeatEventIdx | vhostuser.FeatIndirect
)

// Card is the driver of a network card without offloads, between a device and
// a datagram socket that carries one frame per message.
type Card struct {
	fe     *FrontEnd
	rx, tx *VQ
	frames *net.UnixConn
	wg     sync.WaitGroup
	up     chan struct{}
}

// PlugCard brings up the driver of the device that is or will be served behind
// hypervisor, which it owns like frames. Close ends it.
func PlugCard(t testing.TB, hypervisor, frames *net.UnixConn) *Card {
	c := &Card{fe: NewFrontEndOn(t, hypervisor), frames: frames, up: make(chan struct{})}
	c.rx, c.tx = NewVQ(t, c.fe, 0, allRings), NewVQ(t, c.fe, 1, allRings)
	for i := range RingSize {
		c.rx.SetDesc(i, BaseGPA+rxBufs+uint64(i*rxBuf), rxBuf, vhostuser.DescWrite, 0)
		c.rx.Offer(uint16(i))
	}
	c.wg.Go(func() {
		defer close(c.up)
		c.fe.Handshake(allRings | Mergeable)
		c.rx.Start(c.fe, 0)
		c.tx.Start(c.fe, 0)
		c.wg.Go(c.receive)
		c.wg.Go(c.send)
	})
	return c
}

// Close ends the card and waits for it. The device sees its hypervisor go.
func (c *Card) Close() {
	<-c.up
	_ = c.fe.Sock.Close()
	_ = c.frames.Close()
	c.rx.Close()
	c.tx.Close()
	c.wg.Wait()
	c.fe.Close()
}

// receive hands the device's frames on.
func (c *Card) receive() {
	var frame []byte
	var count [8]byte
	left := 0
	for {
		old := c.rx.AvailIdx
		for {
			head, n, ok := c.rx.Collect()
			if !ok {
				break
			}
			at := rxBufs + int(head)*rxBuf
			b := c.fe.Mem[at : at+int(n)]
			if left == 0 {
				left, frame, b = int(binary.LittleEndian.Uint16(b[10:])), frame[:0], b[VnetLen:]
			}
			frame = append(frame, b...)
			if left--; left == 0 {
				if _, err := c.frames.Write(frame); err != nil {
					return
				}
			}
			c.rx.Offer(uint16(head))
		}
		c.rx.Notify(old)
		if c.rx.WantSignal() {
			continue
		}
		if _, err := c.rx.Call.Read(count[:]); err != nil {
			return
		}
	}
}

// send gives the device frames, the header in a buffer of its own.
func (c *Card) send() {
	var free []int
	for i := range txSlots / 2 {
		free = append(free, i)
	}
	buf := make([]byte, txBuf-VnetLen)
	var count [8]byte
	for {
		n, err := c.frames.Read(buf)
		if err != nil {
			return
		}
		for len(free) == 0 {
			for {
				head, _, ok := c.tx.Collect()
				if !ok {
					break
				}
				free = append(free, int(head)/2)
			}
			if len(free) == 0 && !c.tx.WantSignal() {
				if _, err := c.tx.Call.Read(count[:]); err != nil {
					return
				}
			}
		}
		slot := free[len(free)-1]
		free = free[:len(free)-1]
		at := txBufs + slot*txBuf
		clear(c.fe.Mem[at : at+VnetLen])
		copy(c.fe.Mem[at+VnetLen:], buf[:n])
		c.tx.SetDesc(2*slot, BaseGPA+uint64(at), VnetLen, vhostuser.DescNext, uint16(2*slot+1))
		c.tx.SetDesc(2*slot+1, BaseGPA+uint64(at+VnetLen), uint32(n), 0, 0)
		old := c.tx.AvailIdx
		c.tx.Offer(uint16(2 * slot))
		c.tx.Notify(old)
	}
}
