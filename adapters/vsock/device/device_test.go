//go:build linux

package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/domain"
)

type rig struct {
	dev   *Device
	fe    *vhosttest.FrontEnd
	guest *guest
}

func testLog(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

const (
	testCID = 3
	bufSize = 4096 + headerLen
)

const eventFeatures = vhostuser.FeatVersion1 | vhostuser.FeatProtocol | vhostuser.FeatEventIdx | vhostuser.FeatIndirect

// newRig makes a device with a front-end and a guest whose driver is up. At
// the end of the test nothing of it is left.
func newRig(t testing.TB, features uint64) *rig {
	t.Helper()
	r := newColdRig(t, features)
	r.guest.start(0)
	return r
}

func newColdRig(t testing.TB, features uint64) *rig {
	t.Helper()
	before, fds := goleak.IgnoreCurrent(), openFDs(t)
	dev, err := New(testLog(t), testCID)
	require.NoError(t, err)
	fe := vhosttest.NewFrontEnd(t, dev.VhostUser())
	r := &rig{dev: dev, fe: fe, guest: newGuest(t, fe, features)}
	t.Cleanup(func() {
		require.NoError(t, r.dev.Close())
		r.guest.close()
		r.fe.Close()
		goleak.VerifyNone(t, before)
		require.Equal(t, fds, openFDs(t), "file descriptors")
	})
	fe.Handshake(features)
	return r
}

func openFDs(t testing.TB) int {
	e, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(e)
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) dial(t testing.TB, port uint32) *Stream {
	t.Helper()
	s, err := r.dev.Dial(within(t, 10*time.Second), port)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.SetDeadline(time.Now().Add(60*time.Second)))
	return s
}

func (r *rig) streams() int {
	r.dev.mux.mu.Lock()
	defer r.dev.mux.mu.Unlock()
	return len(r.dev.mux.streams)
}

func eachFeatureSet(t *testing.T, f func(t *testing.T, features uint64)) {
	t.Run("event index", func(t *testing.T) { f(t, eventFeatures) })
	t.Run("flags", func(t *testing.T) { f(t, vhostuser.FeatVersion1|vhostuser.FeatProtocol) })
}

func TestEcho(t *testing.T) {
	eachFeatureSet(t, func(t *testing.T, features uint64) {
		r := newRig(t, features)
		s := r.dial(t, portEcho)
		const size = 64 << 20
		sent, got := sha256.New(), sha256.New()
		var wg sync.WaitGroup
		wg.Go(func() {
			src := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
			n, err := io.CopyBuffer(struct{ io.Writer }{s}, io.TeeReader(src, sent), make([]byte, 100_003))
			if err != nil || n != size {
				t.Errorf("sent %d: %v", n, err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		n, err := io.Copy(got, s)
		wg.Wait()
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		require.Equal(t, sent.Sum(nil), got.Sum(nil))
	})
}

func TestHalfCloseLetsThePeerAnswer(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portLate)
	data := make([]byte, 300_000)
	_, err := s.Write(data)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	answer, err := io.ReadAll(s)
	require.NoError(t, err)
	require.EqualValues(t, len(data), binary.LittleEndian.Uint64(answer))
}

func TestPeersFullCloseIsSeenByReaderAndWriter(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portGreet)
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, greeting, string(b))
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
	require.Zero(t, r.streams(), "the stream is confirmed and gone")
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Close(), net.ErrClosed)
}

func TestCloseIsConfirmedByTheGuest(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	require.NoError(t, s.Close())
	require.Eventually(t, func() bool { return r.streams() == 0 }, time.Second, time.Millisecond)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.Zero(t, r.guest.control(opRst))
}

func TestDialRefused(t *testing.T) {
	r := newRig(t, eventFeatures)
	_, err := r.dev.Dial(within(t, 5*time.Second), 4242)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.Zero(t, r.streams())
}

func TestDialWaitsForTheDriver(t *testing.T) {
	r := newColdRig(t, eventFeatures)
	_, err := r.dev.Dial(within(t, 20*time.Millisecond), portEcho)
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the guest's vsock driver")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.dev.Dial(ctx, portEcho)
	require.ErrorIs(t, err, domain.ErrCanceled)

	done := make(chan error, 1)
	go func() {
		s, err := r.dev.Dial(within(t, 10*time.Second), portEcho)
		if err == nil {
			err = s.Close()
		}
		done <- err
	}()
	r.guest.start(0)
	require.NoError(t, <-done)
}

func TestDialThatNobodyAnswersLeavesNothing(t *testing.T) {
	r := newRig(t, eventFeatures)
	r.exhaustRx(t)
	for range 3 * maxStreams / 1000 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
		_, err := r.dev.Dial(ctx, portEcho)
		cancel()
		require.ErrorIs(t, err, domain.ErrTimeout)
	}
	require.Equal(t, 1, r.streams(), "only the stream that used the buffers up")
	r.dev.mux.rx.Lock()
	require.LessOrEqual(t, len(r.dev.mux.out.control), 1)
	r.dev.mux.rx.Unlock()
}

// exhaustRx makes the guest keep all receive buffers; it returns the stream
// whose data fills them.
func (r *rig) exhaustRx(t *testing.T) *Stream {
	t.Helper()
	s := r.dial(t, portDiscard)
	r.guest.mu.Lock()
	r.guest.noRx = true
	r.guest.window = 1 << 30
	for _, c := range r.guest.conns {
		c.send(opCreditUpdate, 0, nil)
	}
	r.guest.flush()
	r.guest.mu.Unlock()
	require.NoError(t, s.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	n, err := s.Write(make([]byte, 4<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Positive(t, n)
	r.guest.mu.Lock()
	require.Len(t, r.guest.owed, vhosttest.RingSize)
	r.guest.mu.Unlock()
	require.NoError(t, s.SetWriteDeadline(time.Time{}))
	return s
}

func TestWriterWithoutBuffersCanBeInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(s *Stream) error{
		"close":       (*Stream).Close,
		"close write": (*Stream).CloseWrite,
		"deadline":    func(s *Stream) error { return s.SetWriteDeadline(time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, eventFeatures)
			s := r.exhaustRx(t)
			done := make(chan error, 1)
			go func() {
				_, err := s.Write(make([]byte, 1<<20))
				done <- err
			}()
			require.Eventually(t, func() bool {
				r.dev.mux.rx.Lock()
				defer r.dev.mux.rx.Unlock()
				return len(r.dev.mux.out.stalled) == 1
			}, 5*time.Second, time.Millisecond)
			require.NoError(t, interrupt(s))
			err := <-done
			if !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			r.dev.mux.rx.Lock()
			require.Empty(t, r.dev.mux.out.stalled)
			r.dev.mux.rx.Unlock()
		})
	}
}

func TestStalledWritersShareTheBuffers(t *testing.T) {
	r := newRig(t, eventFeatures)
	r.guest.mu.Lock()
	r.guest.window = 1 << 20
	r.guest.mu.Unlock()
	var streams []*Stream
	for range 8 {
		streams = append(streams, r.dial(t, portLate))
	}
	first := r.exhaustRx(t)
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() {
			if _, err := s.Write(make([]byte, 200_000)); err != nil {
				t.Error(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, first.Close())
	stop := make(chan struct{})
	var feeder sync.WaitGroup
	feeder.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
				r.guest.feed(3)
			}
		}
	})
	wg.Wait()
	for _, s := range streams {
		b, err := io.ReadAll(s)
		require.NoError(t, err)
		require.EqualValues(t, 200_000, binary.LittleEndian.Uint64(b))
	}
	close(stop)
	feeder.Wait()
}

func TestCreditOfTheGuestIsKept(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portHold)
	require.NoError(t, s.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	n, err := s.Write(make([]byte, 1<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.EqualValues(t, r.guest.window, n)
	require.Equal(t, 1, r.guest.control(opCreditRequest), "asked once, not in a loop")
}

func TestSlowReaderHoldsTheGuestBack(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	r.guest.mu.Lock()
	r.guest.window = 8 << 20
	for _, c := range r.guest.conns {
		c.send(opCreditUpdate, 0, nil)
	}
	r.guest.flush()
	r.guest.mu.Unlock()
	data := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	_, err := s.Write(data)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.recv.len() == recvWindow
	}, 5*time.Second, time.Millisecond)
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.Zero(t, r.guest.control(opRst))
}

func TestReadDeadline(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	require.NoError(t, s.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.NoError(t, err)
}

func TestManyStreams(t *testing.T) {
	r := newRig(t, eventFeatures)
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			s, err := r.dev.Dial(within(t, 30*time.Second), portEcho)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			msg := bytes.Repeat([]byte{byte(i)}, 10_000)
			go func() {
				_, _ = s.Write(msg)
				_ = s.CloseWrite()
			}()
			got, err := io.ReadAll(s)
			if err != nil || !bytes.Equal(got, msg) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return r.streams() == 0 }, 5*time.Second, time.Millisecond)
}

func TestCloseDuringEverything(t *testing.T) {
	r := newRig(t, eventFeatures)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for {
				s, err := r.dev.Dial(within(t, 30*time.Second), []uint32{portEcho, portHold, portDiscard, portGreet}[i%4])
				if err != nil {
					if !errors.Is(err, domain.ErrNotRunning) && !errors.Is(err, syscall.ECONNRESET) {
						t.Error(err)
					}
					return
				}
				_, _ = s.Write(make([]byte, 50_000))
				if i%4 == 0 {
					_, _ = s.Read(make([]byte, 50_000))
				}
				_ = s.Close()
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, r.dev.Close())
	wg.Wait()
	_, err := r.dev.Dial(within(t, time.Second), portEcho)
	require.ErrorIs(t, err, domain.ErrNotRunning)
}

// newIdleMux has queues that no driver has started.
func newIdleMux(t testing.TB) *mux {
	s := vhostuser.New(testLog(t), nil, vhostuser.Device{Queues: queueCount})
	return newMux(testLog(t), testCID, s.Queue(rxQueue), s.Queue(txQueue))
}
