//go:build linux

package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Feature bits: VIRTIO 1.2 section 6, and the vhost-user specification for
// LOG_ALL and PROTOCOL_FEATURES.
const (
	FeatLogAll   = 1 << 26
	FeatIndirect = 1 << 28
	FeatEventIdx = 1 << 29
	FeatProtocol = 1 << 30
	FeatVersion1 = 1 << 32

	ringFeatures = FeatLogAll | FeatIndirect | FeatEventIdx | FeatProtocol | FeatVersion1

	protoMQ          = 1 << 0
	protoLogShmFD    = 1 << 1
	protoReplyAck    = 1 << 3
	protoConfig      = 1 << 9
	protoResetDevice = 1 << 13

	baseProtocol = protoMQ | protoLogShmFD | protoReplyAck | protoResetDevice

	noFD       = 1 << 8
	vringIndex = 0xff
	vringLog   = 1 << 0
)

var errUnknownRequest = errors.New("unknown request")

// controller is the state that the front-end sets up. Only the control
// goroutine uses it.
type controller struct {
	dev    Device
	queues []*Queue
	table  *memTable
	dirty  *dirtyLog
}

// offered are the features of a device, those of the rings among them.
func (c *controller) offered() uint64 { return ringFeatures | c.dev.Features }

// handle carries out one request. reply is nil when the request has no reply
// of its own. The message's descriptors that handle does not take stay in it.
func (c *controller) handle(m *message) (reply []byte, err error) {
	switch m.req {
	case ReqGetFeatures:
		return u64(c.offered()), nil
	case ReqGetProtocolFeatures:
		return u64(c.protocol()), nil
	case ReqGetQueueNum:
		return u64(uint64(len(c.queues))), nil
	case ReqGetConfig:
		return c.config(m.body)
	case ReqSetConfig:
		return nil, errors.New("the configuration is read-only")
	case ReqSetProtocolFeatures:
		return nil, subset(m, c.protocol())
	case ReqSetFeatures:
		return nil, c.setFeatures(m)
	case ReqSetOwner:
		// A front-end that starts owns nothing of the one before it.
		c.release("a hypervisor took over the device")
		return nil, nil
	case ReqResetOwner, ReqResetDevice:
		c.resetDevice()
		return nil, nil
	case ReqSetMemTable:
		return nil, c.setMemTable(m)
	case ReqSetLogBase:
		return c.setLogBase(m)
	case ReqSetVringErr:
		return nil, nil // this device reports errors in its log
	case ReqSetVringNum, ReqSetVringBase, ReqGetVringBase, ReqSetVringEnable:
		return c.vringState(m)
	case ReqSetVringAddr:
		return nil, c.setVringAddr(m)
	case ReqSetVringKick, ReqSetVringCall:
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
	if err := subset(m, c.offered()); err != nil {
		return err
	}
	f := binary.LittleEndian.Uint64(m.body)
	for _, q := range c.queues {
		q.setFeatures(f)
	}
	c.dev.Negotiated(f)
	if f&FeatLogAll == 0 && c.dirty != nil {
		c.dirty.unmap()
		c.dirty = nil
	}
	return nil
}

// protocol are the protocol features of a device.
func (c *controller) protocol() uint64 {
	if len(c.dev.Config) == 0 {
		return baseProtocol
	}
	return baseProtocol | protoConfig
}

// config answers a read of the device's configuration. An empty payload is the protocol's way to refuse.
func (c *controller) config(body []byte) ([]byte, error) {
	const head = 12 // offset, size, flags
	if len(body) < head {
		return nil, fmt.Errorf("config request of %d bytes", len(body))
	}
	cfg := c.dev.Config
	off, n := uint64(binary.LittleEndian.Uint32(body)), uint64(binary.LittleEndian.Uint32(body[4:]))
	if off+n > uint64(len(cfg)) || uint64(len(body)) < head+n {
		return []byte{}, nil
	}
	out := append([]byte(nil), body[:head+n]...)
	copy(out[head:], cfg[off:off+n])
	return out, nil
}

func (c *controller) queue(index uint32) (*Queue, error) {
	if uint64(index) >= uint64(len(c.queues)) {
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
	case ReqSetVringNum:
		return nil, q.setSize(value)
	case ReqSetVringBase:
		continues, err := q.setBase(value)
		// A virtual machine that was paused goes on where it stopped; a
		// driver that starts anew does not know what was before.
		if err == nil && !continues {
			c.dev.Restarted(int(index))
		}
		return nil, err
	case ReqSetVringEnable:
		q.enable(value != 0)
		c.dev.Changed()
		return nil, nil
	default:
		base := q.stop()
		c.dev.Changed()
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
	defer c.dev.Changed()
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
	if m.req == ReqSetVringCall {
		return q.setCall(fd)
	}
	if !ok {
		return errors.New("a queue without a kick eventfd would have to be polled")
	}
	defer c.dev.Changed()
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
	old.release() // every queue has left it
	c.dev.Changed()
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
	c.dev.Changed()
	c.dev.Reset("the guest was reset")
}

// release gives back all that the front-end handed over.
func (c *controller) release(why string) {
	for _, q := range c.queues {
		q.release()
	}
	c.dev.Changed()
	c.dev.Reset(why)
	c.table.release()
	c.table = nil
	c.dirty.unmap()
	c.dirty = nil
}
