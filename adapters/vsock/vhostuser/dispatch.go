//go:build linux

package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
)

// Feature bits: VIRTIO 1.2 section 6, and the vhost-user specification for
// LOG_ALL and PROTOCOL_FEATURES.
const (
	featLogAll   = 1 << 26
	featIndirect = 1 << 28
	featEventIdx = 1 << 29
	featProtocol = 1 << 30
	featVersion1 = 1 << 32

	offeredFeatures = featLogAll | featIndirect | featEventIdx | featProtocol | featVersion1

	protoMQ          = 1 << 0
	protoLogShmFD    = 1 << 1
	protoReplyAck    = 1 << 3
	protoConfig      = 1 << 9
	protoResetDevice = 1 << 13

	offeredProtocol = protoMQ | protoLogShmFD | protoReplyAck | protoConfig | protoResetDevice

	// Receive, transmit and event, seen from the guest. The front-end may
	// serve the event queue itself; this device never has an event to send.
	queueCount = 3
	rxQueue    = 0
	txQueue    = 1

	noFD       = 1 << 8
	vringIndex = 0xff
	vringLog   = 1 << 0
)

var errUnknownRequest = errors.New("unknown request")

// controller is the state that the front-end sets up. Only the control
// goroutine uses it.
type controller struct {
	log    *slog.Logger
	cid    uint64
	queues [queueCount]*queue
	table  *memTable
	dirty  *dirtyLog

	// changed runs after requests that may have started or stopped queues.
	changed func()
	// reset runs when the driver that the streams belong to is gone.
	reset func(why string)
}

// handle carries out one request. reply is nil when the request has no reply
// of its own. The message's descriptors that handle does not take stay in it.
func (c *controller) handle(m *message) (reply []byte, err error) {
	switch m.req {
	case reqGetFeatures:
		return u64(offeredFeatures), nil
	case reqGetProtocolFeatures:
		return u64(offeredProtocol), nil
	case reqGetQueueNum:
		return u64(queueCount), nil
	case reqGetConfig:
		return c.config(m.body)
	case reqSetConfig:
		return nil, errors.New("the configuration is read-only")
	case reqSetProtocolFeatures:
		return nil, subset(m, offeredProtocol)
	case reqSetFeatures:
		return nil, c.setFeatures(m)
	case reqSetOwner:
		// A front-end that starts owns nothing of the one before it.
		c.release("a hypervisor took over the device")
		return nil, nil
	case reqResetOwner, reqResetDevice:
		c.resetDevice()
		return nil, nil
	case reqSetMemTable:
		return nil, c.setMemTable(m)
	case reqSetLogBase:
		return c.setLogBase(m)
	case reqSetVringErr:
		return nil, nil // this device reports errors in its log
	case reqSetVringNum, reqSetVringBase, reqGetVringBase, reqSetVringEnable:
		return c.vringState(m)
	case reqSetVringAddr:
		return nil, c.setVringAddr(m)
	case reqSetVringKick, reqSetVringCall:
		return nil, c.setVringFD(m)
	}
	return nil, errUnknownRequest
}

func subset(m *message, offered uint64) error {
	w, err := m.words(1)
	if err == nil && w[0]&^offered != 0 {
		err = fmt.Errorf("features %#x were not offered", w[0]&^offered)
	}
	return err
}

func (c *controller) setFeatures(m *message) error {
	if err := subset(m, offeredFeatures); err != nil {
		return err
	}
	f := binary.LittleEndian.Uint64(m.body)
	for _, q := range c.queues {
		q.setFeatures(f)
	}
	if f&featLogAll == 0 && c.dirty != nil {
		c.dirty.unmap()
		c.dirty = nil
	}
	return nil
}

// config answers a read of the device's configuration: the guest's context id
// as eight bytes. An empty payload is the protocol's way to refuse.
func (c *controller) config(body []byte) ([]byte, error) {
	const head = 12 // offset, size, flags
	if len(body) < head {
		return nil, fmt.Errorf("config request of %d bytes", len(body))
	}
	cfg := u64(c.cid)
	off, n := uint64(binary.LittleEndian.Uint32(body)), uint64(binary.LittleEndian.Uint32(body[4:]))
	if off+n > uint64(len(cfg)) || uint64(len(body)) < head+n {
		return []byte{}, nil
	}
	out := append([]byte(nil), body[:head+n]...)
	copy(out[head:], cfg[off:off+n])
	return out, nil
}

func (c *controller) queue(index uint32) (*queue, error) {
	if index >= queueCount {
		return nil, fmt.Errorf("queue %d does not exist", index)
	}
	return c.queues[index], nil
}

func (c *controller) vringState(m *message) ([]byte, error) {
	index, value, err := m.vringState()
	if err != nil {
		return nil, err
	}
	q, err := c.queue(index)
	if err != nil {
		return nil, err
	}
	switch m.req {
	case reqSetVringNum:
		return nil, q.setSize(value)
	case reqSetVringBase:
		continues, err := q.setBase(value)
		// A virtual machine that was paused goes on where it stopped; a
		// driver that starts anew does not know the streams.
		if err == nil && !continues && index <= txQueue {
			c.reset("the guest's vsock driver was started again")
		}
		return nil, err
	case reqSetVringEnable:
		q.enable(value != 0)
		c.changed()
		return nil, nil
	default:
		base := q.stop()
		c.changed()
		out := binary.LittleEndian.AppendUint32(nil, index)
		return binary.LittleEndian.AppendUint32(out, uint32(base)), nil
	}
}

func (c *controller) setVringAddr(m *message) error {
	w, err := m.words(5)
	if err != nil {
		return err
	}
	q, err := c.queue(uint32(w[0]))
	if err != nil {
		return err
	}
	defer c.changed()
	return q.setAddr(ringAddr{
		desc: w[1], used: w[2], avail: w[3], usedGPA: w[4],
		logUsed: w[0]>>32&vringLog != 0,
	})
}

func (c *controller) setVringFD(m *message) error {
	w, err := m.words(1)
	if err != nil {
		return err
	}
	q, err := c.queue(uint32(w[0] & vringIndex))
	if err != nil {
		return err
	}
	fd, ok := m.take()
	if w[0]&noFD == 0 && !ok {
		return errors.New("the eventfd is missing")
	}
	if m.req == reqSetVringCall {
		return q.setCall(fd)
	}
	if !ok {
		return errors.New("a queue without a kick eventfd would have to be polled")
	}
	defer c.changed()
	return q.start(fd)
}

func (c *controller) setMemTable(m *message) error {
	if len(m.body) < 8 {
		return fmt.Errorf("memory table of %d bytes", len(m.body))
	}
	n := int(binary.LittleEndian.Uint32(m.body))
	if n > maxRegions || len(m.body) < 8+32*n {
		return fmt.Errorf("memory table of %d regions in %d bytes", n, len(m.body))
	}
	specs := make([]regionSpec, n)
	for i := range specs {
		b := m.body[8+32*i:]
		specs[i] = regionSpec{
			gpa: binary.LittleEndian.Uint64(b), size: binary.LittleEndian.Uint64(b[8:]),
			uva: binary.LittleEndian.Uint64(b[16:]), off: binary.LittleEndian.Uint64(b[24:]),
		}
	}
	t, err := mapTable(specs, m.fds)
	if err != nil {
		return err
	}
	old := c.table
	c.table = t
	for _, q := range c.queues {
		q.setTable(t)
	}
	old.unmap() // every queue has left it
	c.changed()
	return nil
}

func (c *controller) setLogBase(m *message) ([]byte, error) {
	w, err := m.words(2)
	if err != nil {
		return nil, err
	}
	if len(m.fds) == 0 {
		return nil, errors.New("the file of the migration log is missing")
	}
	l, err := mapLog(m.fds[0], w[0], w[1]) // the mapping outlives the descriptor
	if err != nil {
		return nil, err
	}
	old := c.dirty
	c.dirty = l
	for _, q := range c.queues {
		q.setLog(l)
	}
	old.unmap()
	return u64(0), nil
}

// resetDevice stops everything that the driver started; the front-end's setup
// stays.
func (c *controller) resetDevice() {
	for _, q := range c.queues {
		q.stop()
		q.enable(false)
	}
	c.changed()
	c.reset("the guest was reset")
}

// release gives back all that the front-end handed over.
func (c *controller) release(why string) {
	for _, q := range c.queues {
		q.release()
	}
	c.changed()
	c.reset(why)
	c.table.unmap()
	c.table = nil
	c.dirty.unmap()
	c.dirty = nil
}
