package vz

import (
	"context"
	"fmt"

	"arcbox/domain"
)

// transit takes the machine to another state with call, which has no deadline of
// its own. One at a time: the framework refuses a transition during another, a
// stop too.
func (m *machine) transit(ctx context.Context, doing string, call func() error) error {
	if err := m.turn(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if !m.enterCall() {
		m.endTurn()
		return fmt.Errorf("%s: %w", doing, domain.ErrNotRunning)
	}
	answer := make(chan error, 1)
	go func() { // supervise waits for it
		defer m.calls.Done()
		err := call()
		m.endTurn()
		answer <- err
	}()
	select {
	case err := <-answer:
		return explain(doing, err)
	case <-m.down:
		return fmt.Errorf("%s: %w", doing, domain.ErrNotRunning)
	case <-ctx.Done():
		return fmt.Errorf("%s: waiting for the framework: %w", doing, contextError(ctx))
	}
}

// turn waits until no transition is under way; endTurn lets the next one begin.
func (m *machine) turn(ctx context.Context) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	if m.isDown() {
		return domain.ErrNotRunning
	}
	select {
	case m.transition <- struct{}{}:
		return nil
	case <-m.down:
		return domain.ErrNotRunning
	case <-ctx.Done():
		return fmt.Errorf("waiting for another change of the machine's state: %w", contextError(ctx))
	}
}

func (m *machine) endTurn() { <-m.transition }

// enterCall counts a call of the guest, unless the machine is down.
func (m *machine) enterCall() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isDown() {
		return false
	}
	m.calls.Add(1)
	return true
}

// forceStop stops the machine when it is its turn.
func (m *machine) forceStop() error {
	select {
	case m.transition <- struct{}{}:
		defer m.endTurn()
		return m.guest.Stop()
	case <-m.down:
		return domain.ErrNotRunning
	}
}
