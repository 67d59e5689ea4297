//go:build linux

package device

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTrimDuringATransferLosesNothing(t *testing.T) {
	r := newRig(t, eventFeatures)
	s := r.dial(t, portEcho)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	trims := make(chan int, 1)
	wg.Go(func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				trims <- n
				return
			default:
				r.dev.mux.rx.Trim()
			}
		}
	})
	const size = 8 << 20
	sent := sha256.New()
	wg.Go(func() {
		src := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{2}), size), sent)
		if n, err := io.Copy(struct{ io.Writer }{s}, src); err != nil || n != size {
			t.Errorf("sent %d: %v", n, err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got := sha256.New()
	n, err := io.Copy(got, s)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, sent.Sum(nil), got.Sum(nil))
	stop <- struct{}{}
	require.Greater(t, <-trims, 10)
}
