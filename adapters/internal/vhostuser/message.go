//go:build linux

package vhostuser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Request is a vhost-user front-end message type. Names and numbers are those
// of the vhost-user specification in QEMU's documentation (interop/vhost-user).
type Request uint32

// Requests of the front-end.
const (
	ReqGetFeatures         Request = 1
	ReqSetFeatures         Request = 2
	ReqSetOwner            Request = 3
	ReqResetOwner          Request = 4
	ReqSetMemTable         Request = 5
	ReqSetLogBase          Request = 6
	ReqSetVringNum         Request = 8
	ReqSetVringAddr        Request = 9
	ReqSetVringBase        Request = 10
	ReqGetVringBase        Request = 11
	ReqSetVringKick        Request = 12
	ReqSetVringCall        Request = 13
	ReqSetVringErr         Request = 14
	ReqGetProtocolFeatures Request = 15
	ReqSetProtocolFeatures Request = 16
	ReqGetQueueNum         Request = 17
	ReqSetVringEnable      Request = 18
	ReqGetConfig           Request = 24
	ReqSetConfig           Request = 25
	ReqResetDevice         Request = 34
)

// answers says that a request has a reply of its own, beside REPLY_ACK.
func (r Request) answers() bool {
	switch r {
	case ReqGetFeatures, ReqGetProtocolFeatures, ReqGetQueueNum, ReqGetVringBase, ReqGetConfig, ReqSetLogBase:
		return true
	}
	return false
}

const (
	msgHeaderLen = 12
	// The largest message of the protocol is a memory table or a config read
	// of 256 bytes; everything near a page is nonsense.
	maxMsgBody = 4096
	maxMsgFDs  = maxRegions

	flagVersion     = 1
	flagVersionMask = 3
	flagReply       = 1 << 2
	flagNeedReply   = 1 << 3
)

type msgHeader struct {
	req   Request
	flags uint32
	size  uint32
}

func decodeMsgHeader(b [msgHeaderLen]byte) (msgHeader, error) {
	h := msgHeader{
		req:   Request(binary.LittleEndian.Uint32(b[0:])),
		flags: binary.LittleEndian.Uint32(b[4:]),
		size:  binary.LittleEndian.Uint32(b[8:]),
	}
	switch {
	case h.flags&flagVersionMask != flagVersion:
		return h, fmt.Errorf("message %d has protocol version %d", h.req, h.flags&flagVersionMask)
	case h.flags&flagReply != 0:
		return h, fmt.Errorf("message %d is a reply to nothing", h.req)
	case h.size > maxMsgBody:
		return h, fmt.Errorf("message %d has a body of %d bytes, at most %d are allowed", h.req, h.size, maxMsgBody)
	}
	return h, nil
}

func encodeReply(req Request, body []byte) []byte {
	out := make([]byte, msgHeaderLen, msgHeaderLen+len(body))
	binary.LittleEndian.PutUint32(out[0:], uint32(req))
	binary.LittleEndian.PutUint32(out[4:], flagVersion|flagReply)
	binary.LittleEndian.PutUint32(out[8:], uint32(len(body)))
	return append(out, body...)
}

// message is one request. It owns the descriptors that came with it until take
// hands one out; closeFDs closes the rest.
type message struct {
	msgHeader
	body []byte
	fds  []int
}

func (m *message) take() (int, bool) {
	if len(m.fds) == 0 {
		return -1, false
	}
	fd := m.fds[0]
	m.fds = m.fds[1:]
	return fd, true
}

func (m *message) closeFDs() {
	for _, fd := range m.fds {
		_ = unix.Close(fd)
	}
	m.fds = nil
}

// words decodes the body as n little-endian values of eight bytes.
func (m *message) words(n int) ([]uint64, error) {
	if len(m.body) < 8*n {
		return nil, fmt.Errorf("body of %d bytes, %d expected", len(m.body), 8*n)
	}
	w := make([]uint64, n)
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(m.body[8*i:])
	}
	return w, nil
}

// vringState decodes the two words of a vring state: queue index and value.
func (m *message) vringState() (index, value uint32, err error) {
	if len(m.body) < 8 {
		return 0, 0, fmt.Errorf("vring state of %d bytes, 8 expected", len(m.body))
	}
	return binary.LittleEndian.Uint32(m.body), binary.LittleEndian.Uint32(m.body[4:]), nil
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// readMessage reads one request. io.EOF says that the front-end has gone
// between two messages. On an error no descriptor stays open.
func readMessage(c *net.UnixConn) (*message, error) {
	var raw [msgHeaderLen]byte
	oob := make([]byte, unix.CmsgSpace(4*maxMsgFDs))
	n, oobn, flags, _, err := c.ReadMsgUnix(raw[:], oob)
	if err != nil {
		return nil, err
	}
	m := &message{}
	parseErr := m.receiveFDs(oob[:oobn])
	switch {
	case parseErr != nil:
		err = parseErr
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("message with more than %d file descriptors", maxMsgFDs)
	case n == 0:
		err = io.EOF
	default:
		err = m.readRest(c, raw, n)
	}
	if err != nil {
		m.closeFDs()
		return nil, err
	}
	return m, nil
}

func (m *message) readRest(c *net.UnixConn, raw [msgHeaderLen]byte, have int) error {
	if _, err := io.ReadFull(c, raw[have:]); err != nil {
		return truncated(err)
	}
	h, err := decodeMsgHeader(raw)
	if err != nil {
		return err
	}
	m.msgHeader, m.body = h, make([]byte, h.size)
	if _, err := io.ReadFull(c, m.body); err != nil {
		return truncated(err)
	}
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (m *message) receiveFDs(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	scms, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for i := range scms {
		fds, err := unix.ParseUnixRights(&scms[i])
		if err != nil {
			return fmt.Errorf("control message: %w", err)
		}
		m.fds = append(m.fds, fds...)
	}
	return nil
}
