package system

import (
	"context"
	"fmt"
	"sync"

	"arcbox/domain"
)

// historyKept bounds the updates that a watcher may be behind. A start has
// some dozens; later ones come with restarts of the machine.
const historyKept = 1024

// history is the setup status and its newest updates, which watchers read by
// their number.
type history struct {
	mu      sync.Mutex
	kept    []domain.SetupStatus // the newest is last
	dropped int                  // how many are kept no more; kept[0] is update number dropped
	changed chan struct{}        // closed at the next update
}

func newHistory() *history {
	return &history{
		kept:    []domain.SetupStatus{{Phase: domain.PhaseInitializing, Message: "starting"}},
		changed: make(chan struct{}),
	}
}

func (h *history) newest() domain.SetupStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept[len(h.kept)-1]
}

// update changes the newest status; no change is no update. A start that has
// failed stays failed.
func (h *history) update(change func(*domain.SetupStatus)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.kept[len(h.kept)-1]
	st := old
	change(&st)
	if old.Phase == domain.PhaseFailed {
		st.Phase, st.Message, st.Error = old.Phase, old.Message, old.Error
	}
	if st == old {
		return
	}
	h.kept = append(h.kept, st)
	if len(h.kept) > historyKept {
		h.kept = append([]domain.SetupStatus(nil), h.kept[historyKept/2:]...)
		h.dropped += historyKept / 2
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *history) watch(ctx context.Context, f func(domain.SetupStatus) error) error {
	h.mu.Lock()
	at := h.dropped + len(h.kept) - 1
	h.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, changed, err := h.read(at)
		if err != nil {
			return err
		}
		if changed != nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		at++
		if err := f(st); err != nil {
			return err
		}
	}
}

// read returns update number at, or a channel that is closed when it is there.
func (h *history) read(at int) (st domain.SetupStatus, changed <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := at - h.dropped
	switch {
	case i < 0:
		return st, nil, fmt.Errorf("this watcher of the start fell behind and lost %d updates: %w", -i, domain.ErrUnavailable)
	case i == len(h.kept):
		return st, h.changed, nil
	}
	return h.kept[i], nil, nil
}
