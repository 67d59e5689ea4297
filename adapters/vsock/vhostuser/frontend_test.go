//go:build linux

package vhostuser

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	testCID  = 3
	testMem  = 16 << 20
	baseGPA  = 0x4000_0000
	baseUVA  = 0x7f00_0000_0000
	ringSize = 128
	bufSize  = 4096 + headerLen
)

// frontEnd is the hypervisor's side of a device: it speaks the protocol and
// owns the guest's memory.
type frontEnd struct {
	t    testing.TB
	sock *net.UnixConn
	fd   int // the memory file
	mem  []byte
}

func newFrontEnd(t testing.TB, d *Device) *frontEnd {
	t.Helper()
	dup, err := unix.FcntlInt(d.VhostUser().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(dup), "front-end")
	c, err := net.FileConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	fe := &frontEnd{t: t, sock: c.(*net.UnixConn)}
	fe.fd, err = unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fe.fd, testMem))
	fe.mem, err = unix.Mmap(fe.fd, 0, testMem, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	return fe
}

func (f *frontEnd) close() {
	_ = f.sock.Close()
	_ = unix.Munmap(f.mem)
	_ = unix.Close(f.fd)
}

func encodeRequest(req request, flags uint32, body []byte) []byte {
	b := encodeReply(req, body)
	binary.LittleEndian.PutUint32(b[4:], flagVersion|flags)
	return b
}

func (f *frontEnd) send(req request, flags uint32, body []byte, fds ...int) {
	f.t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := f.sock.WriteMsgUnix(encodeRequest(req, flags, body), oob, nil)
	require.NoError(f.t, err)
}

func (f *frontEnd) reply(req request) []byte {
	f.t.Helper()
	require.NoError(f.t, f.sock.SetReadDeadline(time.Now().Add(10*time.Second)))
	var h [msgHeaderLen]byte
	_, err := io.ReadFull(f.sock, h[:])
	require.NoError(f.t, err)
	require.Equal(f.t, uint32(req), binary.LittleEndian.Uint32(h[:]))
	require.Equal(f.t, uint32(flagVersion|flagReply), binary.LittleEndian.Uint32(h[4:]))
	b := make([]byte, binary.LittleEndian.Uint32(h[8:]))
	_, err = io.ReadFull(f.sock, b)
	require.NoError(f.t, err)
	return b
}

// ask sends a request that has a reply.
func (f *frontEnd) ask(req request, body []byte, fds ...int) []byte {
	f.t.Helper()
	f.send(req, 0, body, fds...)
	return f.reply(req)
}

// do sends a request and says whether the device carried it out.
func (f *frontEnd) try(req request, body []byte, fds ...int) bool {
	f.t.Helper()
	f.send(req, flagNeedReply, body, fds...)
	return binary.LittleEndian.Uint64(f.reply(req)) == 0
}

func (f *frontEnd) do(req request, body []byte, fds ...int) {
	f.t.Helper()
	require.True(f.t, f.try(req, body, fds...), "request %d", req)
}

func words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func state(index, value uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, index), value)
}

// memTableBody describes the test memory as two regions, split in the middle.
func memTableBody() []byte {
	const half = testMem / 2
	return words(2, baseGPA, half, baseUVA, 0, baseGPA+half, half, baseUVA+half, half)
}

func (f *frontEnd) handshake(features uint64) {
	f.t.Helper()
	require.Equal(f.t, uint64(offeredFeatures), binary.LittleEndian.Uint64(f.ask(reqGetFeatures, nil)))
	require.Equal(f.t, uint64(offeredProtocol), binary.LittleEndian.Uint64(f.ask(reqGetProtocolFeatures, nil)))
	f.do(reqSetProtocolFeatures, words(offeredProtocol))
	f.do(reqSetOwner, nil)
	require.Equal(f.t, uint64(queueCount), binary.LittleEndian.Uint64(f.ask(reqGetQueueNum, nil)))
	cfg := append(state(0, 8), make([]byte, 12)...)
	require.Equal(f.t, uint64(testCID), binary.LittleEndian.Uint64(f.ask(reqGetConfig, cfg)[12:]))
	f.do(reqSetFeatures, words(features))
	f.do(reqSetMemTable, memTableBody(), f.fd, f.fd)
}

func testLog(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }
