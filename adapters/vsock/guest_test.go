//go:build linux

package vsock

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/application/port"
)

// dialGuest dials until the guest's program listens.
func dialGuest(t testing.TB, m *machine, p uint32) port.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Minute)
	defer cancel()
	for {
		s, err := m.Dial(ctx, p)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		require.NoError(t, s.SetDeadline(time.Now().Add(2*time.Minute)))
		return s
	}
}

// TestLinuxGuest runs the device against the vsock driver of a real Linux.
func TestLinuxGuest(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	vm := boot(t, guestImage(t), pluggedIn...)
	start := time.Now()
	first := dialGuest(t, vm, 7)
	t.Logf("first stream %v after the start of the machine", time.Since(start).Round(time.Millisecond))

	t.Run("nobody listens", func(t *testing.T) {
		_, err := vm.Dial(vm.ctx, 4242)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
	t.Run("echo", func(t *testing.T) { echo(t, dialGuest(t, vm, 7), 64<<20) })
	t.Run("half close", func(t *testing.T) { upload(t, dialGuest(t, vm, 9), 3<<20+17) })
	t.Run("full close of the guest", func(t *testing.T) {
		s := dialGuest(t, vm, 11)
		b, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "hello from the guest", string(b))
		require.Eventually(t, func() bool {
			_, err := s.Write([]byte("x"))
			return errors.Is(err, syscall.EPIPE)
		}, 5*time.Second, 10*time.Millisecond)
	})
	t.Run("500 streams", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 500 {
			s := dialGuest(t, vm, 9)
			wg.Go(func() { upload(t, s, 10_000) })
		}
		wg.Wait()
	})
	t.Run("speed", func(t *testing.T) { speed(t, vm) })
	t.Run("pause", func(t *testing.T) {
		s := dialGuest(t, vm, 7)
		vm.execute("stop", nil)
		var wg sync.WaitGroup
		wg.Go(func() { // waits: the guest takes nothing now
			if _, err := s.Write([]byte("sent during the pause")); err != nil {
				t.Error(err)
			}
		})
		vm.execute("cont", nil)
		wg.Wait()
		require.NoError(t, s.CloseWrite())
		b, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "sent during the pause", string(b))
	})
	t.Run("reboot", func(t *testing.T) {
		start := time.Now()
		dialGuest(t, vm, 13)
		_, err := first.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		t.Logf("streams reset %v after the reboot began", time.Since(start).Round(time.Millisecond))
		echo(t, dialGuest(t, vm, 7), 1<<20)
	})
}

// TestLinuxGuestSleeps saves a machine to a file and goes on with another
// hypervisor and another device. QEMU does not save a machine that has a
// vhost-user-vsock device, so it is taken out before and put in after.
func TestLinuxGuestSleeps(t *testing.T) {
	image, saved := guestImage(t), filepath.Join(t.TempDir(), "state")
	from := boot(t, image, pluggedIn...)
	idle := dialGuest(t, from, 7)
	from.unplug()
	from.execute("migrate", map[string]any{"uri": "exec:cat > " + saved})
	from.await("query-migrate", "completed")
	require.NoError(t, from.Close())
	_, err := idle.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	from.execute("quit", nil)

	to := boot(t, image, "-incoming", "exec:cat "+saved)
	to.await("query-status", "running")
	to.plug()
	upload(t, dialGuest(t, to, 9), 3<<20)
	echo(t, dialGuest(t, to, 7), 3<<20)
	to.unplug()
	to.plug()
	echo(t, dialGuest(t, to, 7), 3<<20)
}

func echo(t testing.TB, s port.Stream, size int64) {
	sent, got := sha256.New(), sha256.New()
	var wg sync.WaitGroup
	wg.Go(func() {
		src := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sent)
		if _, err := io.CopyBuffer(struct{ io.Writer }{s}, src, make([]byte, 100_001)); err != nil {
			t.Error(err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	n, err := io.Copy(got, s)
	wg.Wait()
	require.NoError(t, err)
	require.Equal(t, size, n)
	require.Equal(t, sent.Sum(nil), got.Sum(nil))
}

// upload sends and returns when the guest has confirmed the number of bytes.
func upload(t testing.TB, s port.Stream, size int) {
	b := make([]byte, min(size, 256<<10))
	for left := size; left > 0; left -= min(left, len(b)) {
		if _, err := s.Write(b[:min(left, len(b))]); err != nil {
			t.Error(err)
			return
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
	answer, err := io.ReadAll(s)
	if err != nil || len(answer) != 8 || binary.LittleEndian.Uint64(answer) != uint64(size) {
		t.Errorf("answer %x, %v", answer, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func speed(t *testing.T, vm *machine) {
	const size = 128 << 20
	rate := func(start time.Time) float64 { return size / 1e6 / time.Since(start).Seconds() }
	start := time.Now()
	upload(t, dialGuest(t, vm, 9), size)
	t.Logf("to the guest: %.0f MB/s", rate(start))

	s := dialGuest(t, vm, 19)
	start = time.Now()
	require.NoError(t, binary.Write(s, binary.LittleEndian, uint64(size)))
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, s, make([]byte, 256<<10))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	t.Logf("from the guest: %.0f MB/s", rate(start))

	s = dialGuest(t, vm, 7)
	var trips []time.Duration
	b := []byte{0}
	for range 500 {
		start := time.Now()
		_, err := s.Write(b)
		require.NoError(t, err)
		_, err = io.ReadFull(s, b)
		require.NoError(t, err)
		trips = append(trips, time.Since(start))
	}
	slices.Sort(trips)
	start = time.Now()
	for range 100 {
		require.NoError(t, dialGuest(t, vm, 7).Close())
	}
	t.Logf("round trip: median %v, 99%% %v; connect: %v", trips[250], trips[495], time.Since(start)/100)
}
