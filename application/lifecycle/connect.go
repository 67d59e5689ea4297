package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// connect waits for the guest's agent.
func (b *boot) connect(ctx context.Context, vm port.VM, budget time.Duration) (session port.AgentSession, err error) {
	err = b.whileUp(ctx, vm, budget, "waiting for the guest's agent", func(ctx context.Context) (err error) {
		session, err = b.ports.Agents.Connect(ctx, b.options.Machine, vm, b.options.budget(b.options.Timing.Silence, vm.Info()))
		return err
	})
	return session, err
}

// configure tells the guest of the host, for which its engine waits.
func (b *boot) configure(ctx context.Context, vm port.VM, session port.AgentSession, c domain.GuestConfig, budget time.Duration) error {
	return b.whileUp(ctx, vm, budget, "configuring the guest", func(ctx context.Context) error {
		return session.Configure(ctx, c)
	})
}

// whileUp does something with the guest, for no longer than its machine lives.
func (b *boot) whileUp(ctx context.Context, vm port.VM, budget time.Duration, what string, do func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	stop := cancelWhen(vm.Done(), cancel)
	err := do(bounded)
	stop()
	if err == nil {
		return nil
	}
	select {
	case <-vm.Done():
		reason := vm.Err()
		if reason == nil {
			reason = errors.New("the guest powered off")
		}
		return fmt.Errorf("%s: the virtual machine went down (%w): %w%s",
			what, domain.ErrUnavailable, reason, b.consoleTail())
	default:
	}
	if bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", domain.ErrTimeout, err)
	}
	if why, _ := pausedBy(vm); why != "" {
		err = fmt.Errorf("%s: %w", why, err)
	}
	return fmt.Errorf("%s: %w%s", what, err, b.consoleTail())
}

// cancelWhen calls cancel when done is closed, until stop is called; stop waits
// for its goroutine.
func cancelWhen(done <-chan struct{}, cancel func()) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-done:
			cancel()
		case <-quit:
		}
	}()
	return func() { close(quit); <-ended }
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
