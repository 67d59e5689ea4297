package hostwatch

import (
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// hung is a kernel that does not answer until it is released.
type hung struct {
	asked, release, ended chan struct{}
}

func (h hung) add(string, uint32, bool) (int32, error) {
	h.asked <- struct{}{}
	<-h.release
	return 0, os.ErrNotExist
}
func (h hung) remove(int32) {}
func (h hung) read() ([]event, time.Time, error) {
	<-h.ended
	return nil, time.Time{}, os.ErrClosed
}
func (h hung) close() error { close(h.ended); return nil }

func TestCloseDoesNotWaitForAFileSystemThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := hung{make(chan struct{}, 64), make(chan struct{}), make(chan struct{})}
		w := open(Options{Limit: 8, Log: slog.New(slog.DiscardHandler)}, k, func([]domain.PathChange) {}, func(error) {})
		w.SetTrees([]string{"/nfs/tree"})
		<-k.asked
		began := time.Now()
		require.ErrorIs(t, w.Close(), domain.ErrTimeout)
		require.Equal(t, closeLimit, time.Since(began))
		close(k.release)
		require.NoError(t, w.Close()) // now it is over
	})
}
