package hostconfig

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestShareThatDoesNotAnswerEndsTheWait(t *testing.T) {
	s, err := newSource(Options{Log: slog.New(slog.DiscardHandler)}, host{})
	require.NoError(t, err)
	release, looks := make(chan struct{}), 0
	look := func() error { looks++; <-release; return domain.ErrInvalid }
	for range 3 {
		err = s.check(t.Context(), "/nfs", time.Millisecond, look)
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.Contains(t, domain.Hint(err), "/nfs")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.check(ctx, "/nfs", time.Hour, look), context.Canceled)
	close(release)
	require.ErrorIs(t, s.check(t.Context(), "/nfs", time.Hour, look), domain.ErrInvalid)
	require.GreaterOrEqual(t, 2, looks) // not one for each that asks
}
