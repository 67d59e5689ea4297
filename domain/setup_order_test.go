package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestSetupPhaseOrder(t *testing.T) {
	all := []domain.SetupPhase{
		domain.PhaseInitializing, domain.PhaseCleaningUp, domain.PhaseInitializing, domain.PhaseDownloadingAssets, domain.PhaseAssetsReady,
		domain.PhaseVMStarting, domain.PhaseVMReady, domain.PhaseNetworkReady, domain.PhaseReady, domain.PhaseDegraded, domain.PhaseReady,
	}
	var s domain.SetupProgress
	for _, p := range all {
		st := domain.SetupStatus{Phase: p}
		if p == domain.PhaseDegraded {
			st.Error = "no resolver"
		}
		next, err := s.Advance(st)
		require.NoError(t, err, p)
		require.Equal(t, st, next.Status())
		failed, err := next.Advance(domain.SetupStatus{Phase: domain.PhaseFailed, Error: "x"})
		require.NoError(t, err)
		_, err = failed.Advance(st)
		require.ErrorIs(t, err, domain.ErrInvalidState, "a failure is final")
		s = next
	}
	for _, c := range []struct {
		from, to domain.SetupPhase
		want     bool
	}{
		{domain.PhaseUnspecified, domain.PhaseInitializing, true},
		{domain.PhaseInitializing, domain.PhaseUnspecified, false},
		{domain.PhaseInitializing, domain.PhaseAssetsReady, true},
		{domain.PhaseAssetsReady, domain.PhaseNetworkReady, true},
		{domain.PhaseVMReady, domain.PhaseVMStarting, false},
		{domain.PhaseReady, domain.PhaseDownloadingAssets, false},
		{domain.PhaseDownloadingAssets, domain.PhaseDownloadingAssets, true},
		{domain.PhaseAssetsReady, domain.PhaseCleaningUp, false},
		{domain.PhaseFailed, domain.PhaseFailed, false},
		{domain.PhaseReady, domain.SetupPhase(99), false},
	} {
		require.Equal(t, c.want, c.to.CanFollow(c.from), "%s -> %s", c.from, c.to)
	}
}

func TestSetupErrorBelongsToItsPhase(t *testing.T) {
	var s domain.SetupProgress
	_, err := s.Advance(domain.SetupStatus{Phase: domain.PhaseFailed})
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = s.Advance(domain.SetupStatus{Phase: domain.PhaseInitializing, Error: "x"})
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Zero(t, s.Status())
}
