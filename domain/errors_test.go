package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestErrorKinds(t *testing.T) {
	for err, kind := range map[error]error{
		domain.ErrNotRunning: domain.ErrUnavailable, domain.ErrForceStopped: domain.ErrUnavailable,
		domain.ErrShuttingDown: domain.ErrUnavailable, domain.ErrStarting: domain.ErrUnavailable,
		domain.ErrAlreadyRunning: domain.ErrAlreadyExists, domain.ErrAgentLost: domain.ErrUnavailable,
		domain.ErrProtocol: domain.ErrInvalidState, domain.ErrChecksum: domain.ErrCorrupt,
	} {
		wrapped := fmt.Errorf("doing something: %w", err)
		require.ErrorIs(t, wrapped, err)
		require.ErrorIs(t, wrapped, kind)
		require.NotErrorIs(t, wrapped, domain.ErrCanceled)
		require.NotErrorIs(t, kind, err)
	}
}

func TestHints(t *testing.T) {
	require.NoError(t, domain.WithHint(nil, "x"))
	require.Empty(t, domain.Hint(nil))
	require.Empty(t, domain.Hint(domain.ErrNotFound))
	inner := domain.WithHint(fmt.Errorf("disk: %w", domain.ErrNotFound), "make one")
	outer := fmt.Errorf("boot: %w", inner)
	require.Equal(t, "boot: disk: not found", outer.Error(), "a hint is no part of the text")
	require.Equal(t, "make one", domain.Hint(outer))
	require.ErrorIs(t, outer, domain.ErrNotFound)
	require.Equal(t, "first do this", domain.Hint(domain.WithHint(outer, "first do this")), "the outermost wins")
	require.Equal(t, "make one", domain.Hint(errors.Join(domain.ErrTimeout, outer)))
}
