package domain

import "fmt"

// setupRank orders the phases of a start. Phases of one rank may alternate.
var setupRank = map[SetupPhase]int{
	PhaseInitializing: 1, PhaseCleaningUp: 1,
	PhaseDownloadingAssets: 2,
	PhaseAssetsReady:       3,
	PhaseVMStarting:        4,
	PhaseVMReady:           5,
	PhaseNetworkReady:      6,
	PhaseReady:             7, PhaseDegraded: 7,
}

// CanFollow says whether a start may go from phase from to p. A start goes
// forward and may leave phases out; initializing and cleaning up alternate, as
// do ready and degraded afterwards, since the daemon can lose and regain a
// part of itself; repeating a phase is an update of it; everything but a
// failure can fail, and a failure is final.
func (p SetupPhase) CanFollow(from SetupPhase) bool {
	if from == PhaseFailed {
		return false
	}
	if p == PhaseFailed {
		return true
	}
	rank, ok := setupRank[p]
	return ok && rank >= setupRank[from]
}

// SetupProgress follows one start. The zero value has not begun.
type SetupProgress struct{ status SetupStatus }

// Status returns the last update.
func (s SetupProgress) Status() SetupStatus { return s.status }

// Advance returns the progress after an update, or ErrInvalidState, and the
// progress as it was, when the update's phase cannot follow. A phase that
// carries no error clears the one before.
func (s SetupProgress) Advance(next SetupStatus) (SetupProgress, error) {
	if !next.Phase.CanFollow(s.status.Phase) {
		return s, fmt.Errorf("set-up phase %s cannot follow %s: %w", next.Phase, s.status.Phase, ErrInvalidState)
	}
	if (next.Phase == PhaseFailed || next.Phase == PhaseDegraded) == (next.Error == "") {
		return s, fmt.Errorf("set-up phase %s with error %q: %w", next.Phase, next.Error, ErrInvalid)
	}
	return SetupProgress{next}, nil
}
