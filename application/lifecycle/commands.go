package lifecycle

import (
	"context"
	"errors"
	"fmt"

	"arcbox/domain"
)

// message is what the actor's inbox takes.
type message interface{ handle(context.Context, *Actor) }

type (
	ensureCommand struct{ reply chan<- readyReply }
	stopCommand   struct {
		reply chan<- error
		force bool
	}
	readyReply struct {
		instance *Instance
		err      error
	}
)

// EnsureReady returns the running machine, and boots it when it is down. On a
// running machine it takes a few atomic operations. Many callers share one boot,
// and one that leaves because its ctx ends does not end it. The errors are the
// boot's, domain.ErrForceStopped, domain.ErrShuttingDown, or domain.ErrTimeout
// or ErrCanceled when ctx ended.
func (a *Actor) EnsureReady(ctx context.Context) (*Instance, error) {
	a.Touch()
	if inst := a.Snapshot().Instance; inst != nil && !inst.over() {
		return inst, nil
	}
	if a.refusing.Load() {
		return nil, domain.ErrShuttingDown
	}
	reply := make(chan readyReply, 1)
	if err := a.send(ctx, ensureCommand{reply}, "to start"); err != nil {
		return nil, err
	}
	select {
	case r := <-reply:
		return r.instance, r.err
	case <-ctx.Done():
		return nil, a.gaveUp(ctx, "to start")
	case <-a.over:
		return nil, domain.ErrShuttingDown
	}
}

// Stop stops the machine in order: the guest's services get their grace, then
// it is taken down. During a boot it waits for it; a stop under way it joins. A
// machine that is down is stopped already. It goes on when ctx ends.
func (a *Actor) Stop(ctx context.Context) error { return a.stop(ctx, false) }

// ForceStop takes the machine down at once, whatever is under way; who waits
// for it to start gets domain.ErrForceStopped. It goes on when ctx ends.
func (a *Actor) ForceStop(ctx context.Context) error { return a.stop(ctx, true) }

func (a *Actor) stop(ctx context.Context, force bool) error {
	reply := make(chan error, 1)
	if err := a.send(ctx, stopCommand{reply, force}, "to stop"); err != nil {
		if errors.Is(err, domain.ErrShuttingDown) {
			return nil // the actor is over, and with it the machine
		}
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return a.gaveUp(ctx, "to stop")
	case <-a.over:
		return nil
	}
}

func (a *Actor) send(ctx context.Context, m message, awaited string) error {
	select {
	case a.inbox <- m:
		return nil
	case <-ctx.Done():
		return a.gaveUp(ctx, awaited)
	case <-a.over:
		return domain.ErrShuttingDown
	}
}

// gaveUp is the error of a caller who waited and left.
func (a *Actor) gaveUp(ctx context.Context, awaited string) error {
	kind := domain.ErrCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = domain.ErrTimeout
	}
	return fmt.Errorf("waiting for the virtual machine %q %s (it is %s): %w: %w",
		a.options.Machine, awaited, a.Status().State, kind, context.Cause(ctx))
}

func (c ensureCommand) handle(ctx context.Context, a *Actor) {
	if a.closing || a.refusing.Load() {
		c.reply <- readyReply{err: domain.ErrShuttingDown}
		return
	}
	if a.life.State.Ready() && a.run.inst.over() {
		// The caller saw the end of the run before its news got here.
		a.apply(ctx, domain.Crashed{})
	}
	if a.life.State.Ready() {
		a.apply(ctx, domain.Start{})
		c.reply <- readyReply{instance: a.run.inst}
		return
	}
	a.waiters = append(a.waiters, c.reply)
	a.apply(ctx, domain.Start{Create: a.life.State == domain.StateNotExist})
}

func (c stopCommand) handle(ctx context.Context, a *Actor) {
	a.stops = append(a.stops, c.reply)
	if c.force {
		a.apply(ctx, domain.ForceStop{})
		return
	}
	a.apply(ctx, domain.Stop{})
}
