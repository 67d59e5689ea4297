//go:build linux

package device

import (
	"sync"
	"testing"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
)

// Ports of the model guest. On any other port it refuses.
const (
	portEcho    = 7  // sends back what it gets, ends when the host ends
	portDiscard = 9  // reads and forgets
	portHold    = 10 // never reads: its credit runs out
	portGreet   = 11 // sends greeting and closes both directions
	portLate    = 12 // takes the host's data, answers with its count after the host's end
)

const greeting = "hello from the guest"

// guest is a model of a vsock driver and of servers above it.
type guest struct {
	t      testing.TB
	fe     *vhosttest.FrontEnd
	rx, tx *vhosttest.VQ
	window uint32

	mu    sync.Mutex
	conns map[uint32]*guestConn // by the host's port
	txq   []guestPacket
	free  []uint16 // free tx descriptors
	noRx  bool     // give no receive buffers back
	mute  bool     // do not confirm a full close
	owed  []uint16 // receive buffers kept back
	seen  []header // control packets that came
	wg    sync.WaitGroup
}

type guestPacket struct {
	h    header
	data []byte
}

type guestConn struct {
	g                     *guest
	host, port            uint32
	out                   []byte
	got                   uint32 // bytes received
	fwd                   uint32
	sent, hostAlloc, hfwd uint32
	hostEOF, finQueued    bool
	fin                   uint32 // flags to send when out is empty
}

const rxBufs, txBufs = 1 << 20, 4 << 20 // offsets in the memory

func newGuest(t testing.TB, fe *vhosttest.FrontEnd, features uint64) *guest {
	g := &guest{t: t, fe: fe, window: 64 << 10, conns: map[uint32]*guestConn{}}
	g.rx, g.tx = vhosttest.NewVQ(t, fe, rxQueue, features), vhosttest.NewVQ(t, fe, txQueue, features)
	for i := range vhosttest.RingSize {
		g.rx.SetDesc(i, vhosttest.BaseGPA+rxBufs+uint64(i*8192), bufSize, vhostuser.DescWrite, 0)
		g.free = append(g.free, uint16(i))
	}
	return g
}

// start brings the driver up: device first, then the receive buffers.
func (g *guest) start(base uint16) {
	g.rx.Start(g.fe, base)
	g.tx.Start(g.fe, base)
	g.mu.Lock()
	for i := range vhosttest.RingSize {
		g.rx.Offer(uint16(i))
	}
	g.rx.Notify(g.rx.AvailIdx - vhosttest.RingSize)
	g.mu.Unlock()
	g.run()
}

func (g *guest) run() {
	g.wg.Go(func() { g.serve(g.rx, g.receive) })
	g.wg.Go(func() { g.serve(g.tx, g.reclaim) })
}

func (g *guest) serve(q *vhosttest.VQ, work func()) {
	var b [8]byte
	for {
		g.mu.Lock()
		work()
		for q.WantSignal() {
			work()
		}
		g.mu.Unlock()
		if _, err := q.Call.Read(b[:]); err != nil {
			return
		}
	}
}

func (g *guest) close() {
	g.rx.Close()
	g.tx.Close()
	g.wg.Wait()
}

func (g *guest) receive() {
	old := g.rx.AvailIdx
	for {
		head, n, ok := g.rx.Collect()
		if !ok {
			break
		}
		b := g.fe.Mem[rxBufs+int(head)*8192:][:n]
		h := decodeHeader((*[headerLen]byte)(b))
		g.packet(h, append([]byte(nil), b[headerLen:]...))
		if g.noRx {
			g.owed = append(g.owed, uint16(head))
			continue
		}
		g.rx.Offer(uint16(head))
	}
	g.rx.Notify(old)
	g.flush()
}

// feed gives n kept receive buffers back.
func (g *guest) feed(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.rx.AvailIdx
	for range min(n, len(g.owed)) {
		g.rx.Offer(g.owed[0])
		g.owed = g.owed[1:]
	}
	g.rx.Notify(old)
}

func (g *guest) reclaim() {
	for {
		head, _, ok := g.tx.Collect()
		if !ok {
			break
		}
		g.free = append(g.free, uint16(head))
	}
	g.flush()
}

func (g *guest) flush() {
	for _, c := range g.conns {
		c.pump()
	}
	old := g.tx.AvailIdx
	for len(g.txq) > 0 && len(g.free) > 0 {
		p := g.txq[0]
		g.txq = g.txq[1:]
		head := g.free[0]
		g.free = g.free[1:]
		at := txBufs + int(head)*8192
		p.h.len = uint32(len(p.data))
		p.h.encode((*[headerLen]byte)(g.fe.Mem[at:]))
		copy(g.fe.Mem[at+headerLen:], p.data)
		g.tx.SetDesc(int(head), vhosttest.BaseGPA+uint64(at), uint32(headerLen+len(p.data)), 0, 0)
		g.tx.Offer(head)
	}
	g.tx.Notify(old)
}

func (g *guest) send(h header, data []byte) {
	h.srcCID, h.dstCID, h.typ = testCID, hostCID, typeStream
	g.txq = append(g.txq, guestPacket{h, data})
}

func (c *guestConn) send(op uint16, flags uint32, data []byte) {
	c.g.send(header{srcPort: c.port, dstPort: c.host, op: op, flags: flags, alloc: c.g.window, fwd: c.fwd}, data)
}

// pump sends what the host's credit allows.
func (c *guestConn) pump() {
	for len(c.out) > 0 && len(c.g.txq) < vhosttest.RingSize {
		n := min(len(c.out), 4096, int(c.hostAlloc-(c.sent-c.hfwd)))
		if n <= 0 {
			return
		}
		c.send(opRW, 0, c.out[:n])
		c.sent += uint32(n)
		c.out = c.out[n:]
		if c.port == portEcho { // what went out has left the receive buffer
			c.fwd += uint32(n)
			c.send(opCreditUpdate, 0, nil)
		}
	}
	if len(c.out) == 0 && c.fin != 0 && !c.finQueued {
		c.finQueued = true
		c.send(opShutdown, c.fin, nil)
	}
}

func (g *guest) packet(h header, data []byte) {
	c := g.conns[h.srcPort]
	if h.op != opRW {
		g.seen = append(g.seen, h)
	}
	switch {
	case h.op == opRequest:
		switch h.dstPort {
		case portEcho, portDiscard, portHold, portGreet, portLate:
			c = &guestConn{g: g, host: h.srcPort, port: h.dstPort, hostAlloc: h.alloc}
			g.conns[h.srcPort] = c
			c.send(opResponse, 0, nil)
			if c.port == portGreet {
				c.out, c.fin = []byte(greeting), shutBoth
			}
			return
		}
	case h.op == opRst:
		delete(g.conns, h.srcPort)
		return
	}
	if c == nil {
		g.send(header{srcPort: h.dstPort, dstPort: h.srcPort, op: opRst}, nil)
		return
	}
	c.hostAlloc, c.hfwd = h.alloc, h.fwd
	switch h.op {
	case opRW:
		c.data(data)
	case opCreditRequest:
		c.send(opCreditUpdate, 0, nil)
	case opShutdown:
		c.shutdown(h.flags)
	}
}

func (c *guestConn) data(b []byte) {
	c.got += uint32(len(b))
	switch c.port {
	case portEcho:
		c.out = append(c.out, b...)
	case portDiscard, portLate:
		c.fwd += uint32(len(b))
		if c.got/16384 != (c.got-uint32(len(b)))/16384 {
			c.send(opCreditUpdate, 0, nil)
		}
	}
}

func (c *guestConn) shutdown(flags uint32) {
	if flags&shutBoth == shutBoth {
		if c.g.mute {
			return
		}
		c.send(opRst, 0, nil)
		delete(c.g.conns, c.host)
		return
	}
	if flags&shutSend == 0 || c.hostEOF {
		return
	}
	c.hostEOF = true
	switch c.port {
	case portEcho:
		c.fin = shutSend
	case portLate:
		c.out, c.fin = vhosttest.Words(uint64(c.got)), shutSend
	}
}

// control counts control packets of a kind that the host sent.
func (g *guest) control(op uint16) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.seen {
		if h.op == op {
			n++
		}
	}
	return n
}
