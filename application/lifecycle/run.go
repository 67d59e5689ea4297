package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// run is a running machine and what has to be closed with it.
type run struct {
	vm      port.VM
	session port.AgentSession
	inst    *Instance
	info    domain.HypervisorInfo
	hello   domain.AgentHello
	started time.Time
	undo    undo

	closing  chan struct{}   // holds one while somebody closes the run
	balloon  chan domain.MiB // the newest wish
	unwatch  context.CancelFunc
	watchers sync.WaitGroup
}

// newsFunc is told the guest's status, and why the machine stands still.
type newsFunc func(ctx context.Context, s domain.GuestStatus, paused string)

// watch starts the goroutines that follow the run: news is called with every
// status of the guest and every pause, lost once when the run is lost. Both give up when their
// context ends, which close sees to.
func (r *run) watch(ctx context.Context, news newsFunc, lost func(context.Context)) {
	ctx, r.unwatch = context.WithCancel(ctx)
	r.watchers.Go(func() { r.follow(ctx, news, lost) })
	if b, ok := r.vm.(port.Balloon); ok {
		r.watchers.Go(func() { r.resize(ctx, b) })
	}
}

func (r *run) follow(ctx context.Context, news newsFunc, lost func(context.Context)) {
	for {
		status, changed := r.session.Status()
		why, pausing := pausedBy(r.vm)
		news(ctx, status, why)
		select {
		case <-changed:
			continue
		case <-pausing:
			continue
		case <-ctx.Done():
			return
		case <-r.vm.Done():
		case <-r.session.Done():
		}
		r.inst.end()
		lost(ctx)
		return
	}
}

// pausedBy says why a machine stands still, and when that changes; one that
// cannot tell never does.
func pausedBy(vm port.VM) (why string, changed <-chan struct{}) {
	if p, ok := vm.(port.Pausing); ok {
		return p.Paused()
	}
	return "", nil
}

func (r *run) resize(ctx context.Context, b port.Balloon) {
	for {
		select {
		case <-ctx.Done():
			return
		case memory := <-r.balloon:
			bounded, cancel := context.WithTimeout(ctx, balloonBudget)
			// Memory that is not given back costs the host some memory, nothing else.
			_ = b.SetMemory(bounded, memory)
			cancel()
		}
	}
}

const balloonBudget = 10 * time.Second

// setMemory asks for memory without waiting; a newer wish replaces an older one.
// Only the actor calls it.
func (r *run) setMemory(m domain.MiB) {
	select {
	case <-r.balloon:
	default:
	}
	r.balloon <- m
}

// down says whether the machine is known to be down.
func (r *run) down() bool {
	select {
	case <-r.vm.Done():
		return true
	default:
		return false
	}
}

// close releases everything of the run. It may be called again, by anybody:
// what is closed stays closed, what failed is tried again. While another closes
// it, it waits until ctx ends.
func (r *run) close(ctx context.Context) error {
	select {
	case r.closing <- struct{}{}:
		defer func() { <-r.closing }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for another to close it: %w: %w", domain.ErrTimeout, context.Cause(ctx))
	}
	if r.unwatch != nil {
		r.unwatch()
		r.watchers.Wait()
	}
	err := r.undo.close(ctx)
	r.inst.end()
	return err
}
