package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/domain"
)

// stopTask stops the run in order, and by force when that does not work.
func (a *Actor) stopTask() taskFunc {
	r := a.run
	return func(ctx context.Context, _ tellFunc) (*run, domain.LifecycleEvent) {
		if err := a.askToStop(ctx, r); err != nil && ctx.Err() == nil {
			a.log.Warn("the guest did not stop in order; taking it down", "error", err)
		}
		if ctx.Err() != nil {
			return nil, domain.Stopped{} // aborted: the kill task closes the run
		}
		return nil, a.takeDown(ctx, r, nil)
	}
}

// askToStop has the guest end its services and power off, and waits until it
// has.
func (a *Actor) askToStop(ctx context.Context, r *run) error {
	if r.down() {
		return nil
	}
	info, t := r.info, a.options.Timing
	grace := a.options.budget(t.StopGrace, info)
	call, cancel := context.WithTimeout(ctx, a.options.budget(t.StopCall, info))
	err := r.session.Shutdown(call, grace)
	cancel()
	if err != nil {
		return fmt.Errorf("asking the guest to stop: %w", err)
	}
	limit := time.NewTimer(grace + a.options.budget(t.StopCall, info))
	defer limit.Stop()
	select {
	case <-r.vm.Done():
		return nil
	case <-limit.C:
		return fmt.Errorf("waiting %s for the guest to power off: %w%s", grace, domain.ErrTimeout, a.consoleTail())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reapTask clears up after a run that was lost, and says why it was.
func (a *Actor) reapTask() taskFunc {
	r := a.run
	return func(ctx context.Context, _ tellFunc) (*run, domain.LifecycleEvent) {
		// The agent of a guest that powers off is gone before its machine is.
		limit := time.NewTimer(a.options.budget(a.options.Timing.Post, r.info))
		defer limit.Stop()
		select {
		case <-r.vm.Done():
		case <-limit.C:
		case <-ctx.Done():
			return nil, domain.Stopped{} // aborted: the kill task closes the run
		}
		return nil, a.takeDown(ctx, r, a.lossOf(r))
	}
}

// lossOf says why a run was lost: nil when the guest powered off.
func (a *Actor) lossOf(r *run) error {
	if r.down() {
		if err := r.vm.Err(); err != nil {
			return fmt.Errorf("the virtual machine ended unexpectedly: %w%s", err, a.consoleTail())
		}
		return nil
	}
	err := r.session.Err()
	if !errors.Is(err, domain.ErrAgentLost) {
		err = fmt.Errorf("%w: %w", domain.ErrAgentLost, err)
	}
	return fmt.Errorf("lost the virtual machine: %w%s", err, a.consoleTail())
}

// takeDown kills and closes the run. Whatever else could not be closed, a
// machine that is down is stopped.
func (a *Actor) takeDown(ctx context.Context, r *run, cause error) domain.LifecycleEvent {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.options.budget(a.options.Timing.Kill, r.info))
	defer cancel()
	err := r.close(bounded)
	if err == nil {
		return domain.Stopped{Cause: cause}
	}
	if !r.down() {
		return domain.StopFailed{Err: fmt.Errorf("taking the virtual machine down: %w", err)}
	}
	a.log.Warn("not everything of the stopped machine could be closed", "error", err)
	return domain.Stopped{Cause: cause}
}

const tailLines = 20

// consoleTail returns the end of the guest's console log for an error.
func (a *Actor) consoleTail() string {
	lines, err := a.ports.Logs.Tail(a.options.Machine, "kernel", tailLines)
	if err != nil {
		a.log.Warn("the console log cannot be read", "error", err)
		return ""
	}
	return domain.ConsoleExcerpt("the end of its console log", lines)
}
