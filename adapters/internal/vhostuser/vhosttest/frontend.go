//go:build linux

package vhosttest

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
)

// The guest's memory, and the size of every ring.
const (
	MemSize  = 16 << 20
	BaseGPA  = 0x4000_0000
	BaseUVA  = 0x7f00_0000_0000
	RingSize = 128
)

const (
	msgHeaderLen = 12

	flagVersion = 1
	flagReply   = 1 << 2
	// FlagNeedReply asks the back-end for an answer to any request.
	FlagNeedReply = 1 << 3
)

// FrontEnd is the hypervisor's side of a device: it speaks the protocol and
// owns the guest's memory.
type FrontEnd struct {
	t    testing.TB
	Sock *net.UnixConn
	FD   int // the memory file
	Mem  []byte
}

// NewFrontEnd speaks over a duplicate of the hypervisor's end.
func NewFrontEnd(t testing.TB, hypervisor *os.File) *FrontEnd {
	t.Helper()
	dup, err := unix.FcntlInt(hypervisor.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(dup), "front-end")
	c, err := net.FileConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return NewFrontEndOn(t, c.(*net.UnixConn))
}

// NewFrontEndOn speaks over sock, which it owns.
func NewFrontEndOn(t testing.TB, sock *net.UnixConn) *FrontEnd {
	t.Helper()
	fe := &FrontEnd{t: t, Sock: sock}
	var err error
	fe.FD, err = unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fe.FD, MemSize))
	fe.Mem, err = unix.Mmap(fe.FD, 0, MemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	return fe
}

// Close ends the connection and the memory.
func (f *FrontEnd) Close() {
	_ = f.Sock.Close()
	_ = unix.Munmap(f.Mem)
	_ = unix.Close(f.FD)
}

// EncodeRequest makes a message.
func EncodeRequest(req vhostuser.Request, flags uint32, body []byte) []byte {
	var b []byte
	for _, w := range []uint32{uint32(req), flagVersion | flags, uint32(len(body))} {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return append(b, body...)
}

// Send sends a request with descriptors.
func (f *FrontEnd) Send(req vhostuser.Request, flags uint32, body []byte, fds ...int) {
	f.t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := f.Sock.WriteMsgUnix(EncodeRequest(req, flags, body), oob, nil)
	require.NoError(f.t, err)
}

// Reply reads the reply to a request.
func (f *FrontEnd) Reply(req vhostuser.Request) []byte {
	f.t.Helper()
	require.NoError(f.t, f.Sock.SetReadDeadline(time.Now().Add(10*time.Second)))
	var h [msgHeaderLen]byte
	_, err := io.ReadFull(f.Sock, h[:])
	require.NoError(f.t, err)
	require.Equal(f.t, uint32(req), binary.LittleEndian.Uint32(h[:]))
	require.Equal(f.t, uint32(flagVersion|flagReply), binary.LittleEndian.Uint32(h[4:]))
	b := make([]byte, binary.LittleEndian.Uint32(h[8:]))
	_, err = io.ReadFull(f.Sock, b)
	require.NoError(f.t, err)
	return b
}

// Ask sends a request that has a reply.
func (f *FrontEnd) Ask(req vhostuser.Request, body []byte, fds ...int) []byte {
	f.t.Helper()
	f.Send(req, 0, body, fds...)
	return f.Reply(req)
}

// Try sends a request and says whether the device carried it out.
func (f *FrontEnd) Try(req vhostuser.Request, body []byte, fds ...int) bool {
	f.t.Helper()
	f.Send(req, FlagNeedReply, body, fds...)
	return binary.LittleEndian.Uint64(f.Reply(req)) == 0
}

// Do sends a request that must be carried out.
func (f *FrontEnd) Do(req vhostuser.Request, body []byte, fds ...int) {
	f.t.Helper()
	require.True(f.t, f.Try(req, body, fds...), "request %d", req)
}

// Words encodes a body of values of eight bytes.
func Words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// State encodes a vring state.
func State(index, value uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, index), value)
}

// MemTableBody describes the test memory as two regions, split in the middle.
func MemTableBody() []byte {
	const half = MemSize / 2
	return Words(2, BaseGPA, half, BaseUVA, 0, BaseGPA+half, half, BaseUVA+half, half)
}

// Handshake hands over the memory, as far as to where a driver starts queues.
func (f *FrontEnd) Handshake(features uint64) {
	f.t.Helper()
	f.Ask(vhostuser.ReqGetFeatures, nil)
	f.Do(vhostuser.ReqSetProtocolFeatures, f.Ask(vhostuser.ReqGetProtocolFeatures, nil))
	f.Do(vhostuser.ReqSetOwner, nil)
	f.Do(vhostuser.ReqSetFeatures, Words(features))
	f.Do(vhostuser.ReqSetMemTable, MemTableBody(), f.FD, f.FD)
}

const (
	// PageShift is the size of a page of the migration log, as a power of two.
	PageShift = 12
	// RingLog is the flag of ring addresses that has the used ring logged.
	RingLog = 1 << 0
)

// Raw writes bytes that need not be a message.
func (f *FrontEnd) Raw(b []byte) {
	f.t.Helper()
	_, err := f.Sock.Write(b)
	require.NoError(f.t, err)
}
