//go:build linux

package device

import (
	"encoding/binary"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/domain"
)

// pause stops the queues as a front-end does for a paused machine and for a
// reset one.
func (r *rig) pause(t *testing.T) (bases [2]uint16) {
	t.Helper()
	for i := range bases {
		b := r.fe.Ask(vhostuser.ReqGetVringBase, vhosttest.State(uint32(i), 0))
		require.EqualValues(t, i, binary.LittleEndian.Uint32(b))
		bases[i] = uint16(binary.LittleEndian.Uint32(b[4:]))
	}
	return bases
}

func echoOnce(t *testing.T, s *Stream) {
	t.Helper()
	_, err := s.Write([]byte("ping"))
	require.NoError(t, err)
	b := make([]byte, 4)
	_, err = io.ReadFull(s, b)
	require.NoError(t, err)
	require.Equal(t, "ping", string(b))
}

func TestStreamsSurviveAPause(t *testing.T) {
	eachFeatureSet(t, func(t *testing.T, features uint64) {
		r := newRig(t, features)
		s := r.dial(t, portEcho)
		echoOnce(t, s)
		bases := r.pause(t)
		done := make(chan error, 1)
		go func() {
			_, err := s.Write([]byte("ping"))
			done <- err
		}()
		r.fe.Do(vhostuser.ReqSetMemTable, vhosttest.MemTableBody(), r.fe.FD, r.fe.FD)
		r.guest.rx.Start(r.fe, bases[rxQueue])
		r.guest.tx.Start(r.fe, bases[txQueue])
		require.NoError(t, <-done)
		_, err := io.ReadFull(s, make([]byte, 4))
		require.NoError(t, err)
		echoOnce(t, s)
	})
}

func TestRebootResetsStreams(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	echoOnce(t, s)
	r.pause(t)
	r.guest.close()
	r.guest = newGuest(t, r.fe, eventFeatures)
	r.guest.start(0)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	echoOnce(t, r.dial(t, portEcho))
}

func TestResetDeviceResetsStreamsAtOnce(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	r.fe.Do(vhostuser.ReqResetDevice, nil)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = r.dev.Dial(within(t, 10*time.Millisecond), portEcho)
	require.ErrorIs(t, err, domain.ErrTimeout)
}

func TestPendingDialIsReset(t *testing.T) {
	r := newRig(t, eventFeatures)
	r.exhaustRx(t)
	done := make(chan error, 1)
	go func() {
		_, err := r.dev.Dial(within(t, 10*time.Second), portEcho)
		done <- err
	}()
	require.Eventually(t, func() bool { return r.streams() == 2 }, 5*time.Second, time.Millisecond)
	r.fe.Do(vhostuser.ReqResetDevice, nil)
	require.ErrorIs(t, <-done, syscall.ECONNRESET)
}

func TestMemoryIsReplacedWhileStreamsRun(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Write(b); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(s, b); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 100 {
		r.fe.Do(vhostuser.ReqSetMemTable, vhosttest.MemTableBody(), r.fe.FD, r.fe.FD)
	}
	close(stop)
	<-done
}

func TestDirtyPagesAreLogged(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	const firstPage = vhosttest.BaseGPA >> vhosttest.PageShift
	const logSize = (firstPage + vhosttest.MemSize>>vhosttest.PageShift) / 8
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, logSize))
	bits, err := unix.Mmap(fd, 0, logSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer unix.Munmap(bits)
	r.fe.Ask(vhostuser.ReqSetLogBase, vhosttest.Words(logSize, 0), fd)
	r.fe.Do(vhostuser.ReqSetFeatures, vhosttest.Words(eventFeatures|vhostuser.FeatLogAll))
	for i, q := range []*vhosttest.VQ{r.guest.rx, r.guest.tx} {
		r.fe.Do(vhostuser.ReqSetVringAddr, vhosttest.Words(uint64(i)|vhosttest.RingLog<<32, vhosttest.BaseUVA+uint64(q.Desc), vhosttest.BaseUVA+uint64(q.Used), vhosttest.BaseUVA+uint64(q.Avail), vhosttest.BaseGPA+uint64(q.Used)))
	}
	shadow := append([]byte(nil), r.fe.Mem...)
	_, err = s.Write(make([]byte, 20_000))
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 20_000))
	require.NoError(t, err)
	r.pause(t)
	page := func(off int) bool {
		p := firstPage + off>>vhosttest.PageShift
		return bits[p/8]&(1<<(p%8)) != 0
	}
	changed := 0
	for off := rxBufs; off < txBufs; off += 1 << vhosttest.PageShift {
		if string(shadow[off:off+1<<vhosttest.PageShift]) != string(r.fe.Mem[off:off+1<<vhosttest.PageShift]) {
			changed++
			require.True(t, page(off), "receive buffer at %#x", off)
		}
	}
	require.Greater(t, changed, 4)
	require.True(t, page(r.guest.rx.Used))
	require.True(t, page(r.guest.tx.Used))
	require.False(t, page(txBufs), "pages that the device only read")
	r.fe.Do(vhostuser.ReqSetFeatures, vhosttest.Words(eventFeatures))
}

func TestTheHypervisorGoes(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	// The device has a duplicate of the front-end's socket itself, so what it
	// sees is the end of the stream.
	require.NoError(t, r.fe.Sock.CloseWrite())
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = r.dev.Dial(within(t, time.Second), portEcho)
	require.ErrorIs(t, err, domain.ErrNotRunning)
	require.ErrorContains(t, err, "the hypervisor closed")
}

func TestAnotherHypervisorMayTakeOver(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	r.guest.close()
	r.guest = newGuest(t, r.fe, eventFeatures)
	r.fe.Handshake(eventFeatures)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	r.guest.start(0)
	echoOnce(t, r.dial(t, portEcho))
}

func TestLingeringStreamIsResetInTheEnd(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	r.guest.mu.Lock()
	clear(r.guest.conns)
	c := &guestConn{g: r.guest, host: s.key.host, port: portHold, hostEOF: true}
	r.guest.conns[c.host] = c
	r.guest.mute = true
	r.guest.mu.Unlock()
	require.NoError(t, s.Close())
	require.Equal(t, 1, r.streams())
	require.Eventually(t, func() bool { return r.streams() == 0 && r.guest.control(opRst) == 1 }, 2*lingerTime, 10*time.Millisecond)
}
