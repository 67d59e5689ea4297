package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

// backend is the engine of one role.
type backend struct {
	options Options
	role    domain.Role
	vm      *lifecycle.Actor
	memory  EngineMemory
	cached  atomic.Pointer[engine]
	known   atomic.Pointer[domain.EngineInfo] // never Ready
}

func newBackend(o Options, role domain.Role, m Machine) *backend {
	b := &backend{options: o, role: role, vm: m.VM, memory: m.Memory}
	var known domain.EngineInfo
	if m.Memory != nil {
		known = m.Memory.Load()
		known.Ready = false
	}
	b.known.Store(&known)
	return b
}

// engine is the engine of one run.
type engine struct {
	run  *lifecycle.Instance
	port uint32
}

var _ port.Engine = (*engine)(nil)

func (e *engine) Generation() uint64                            { return e.run.Generation() }
func (e *engine) Gone() <-chan struct{}                         { return e.run.Done() }
func (e *engine) Dial(ctx context.Context) (port.Stream, error) { return e.run.Dial(ctx, e.port) }

// ready returns the engine if it answers according to s, else nil. It is what
// every request pays: no lock, no call.
func (b *backend) ready(s *lifecycle.Snapshot) *engine {
	if s.Instance == nil || !s.Status.Guest.EngineReady {
		return nil
	}
	select {
	case <-s.Instance.Done():
		return nil
	default:
	}
	for {
		old := b.cached.Load()
		if old != nil && old.run == s.Instance {
			return old
		}
		e := &engine{run: s.Instance, port: b.options.DockerPort}
		if b.cached.CompareAndSwap(old, e) { // two at once get the same one
			return e
		}
	}
}

// await waits until the engine of run answers.
func (b *backend) await(ctx context.Context, run *lifecycle.Instance) (port.Engine, error) {
	release := b.vm.Hold() // who waits for the engine uses the machine
	defer release()
	budget := domain.Budget(b.options.StartupTimeout, b.vm.Status().Hypervisor.Accelerator, b.options.TCGFactor)
	limit := time.NewTimer(budget)
	defer limit.Stop()
	var guest domain.GuestStatus
	for {
		s := b.vm.Snapshot()
		if s.Instance != run {
			return nil, b.runEnded(ctx, run)
		}
		guest = s.Status.Guest
		if e := b.ready(s); e != nil {
			return e, nil
		}
		if err := domain.EngineHopeless(guest); err != nil {
			return nil, fmt.Errorf("the Docker engine cannot start: %w", err)
		}
		select {
		case <-s.Changed:
		case <-run.Done():
			return nil, b.runEnded(ctx, run)
		case <-limit.C:
			return nil, domain.WithHint(
				fmt.Errorf("waiting %s for the Docker engine: %w: %s", budget, domain.ErrTimeout, domain.EngineProgress(guest)),
				"the log files of dockerd and containerd in the data directory say more")
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the Docker engine: %w: %w: %s",
				contextKind(ctx), context.Cause(ctx), domain.EngineProgress(guest))
		}
	}
}

// reasonWait is how long a lost run gets to be cleared up, which is when its
// reason is known.
const reasonWait = 20 * time.Second

func (b *backend) runEnded(ctx context.Context, run *lifecycle.Instance) error {
	limit := time.NewTimer(reasonWait)
	defer limit.Stop()
	for {
		s := b.vm.Snapshot()
		why := cmp.Or(s.Status.Reason, "it is "+string(s.Status.State))
		err := fmt.Errorf("waiting for the Docker engine: %w: %s", domain.ErrNotRunning, why)
		if s.Instance != run && s.Status.State != domain.StateStopping {
			return err
		}
		select {
		case <-s.Changed:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

func contextKind(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return domain.ErrTimeout
	}
	return domain.ErrCanceled
}

// merge is info with what the newer one knows.
func merge(info, newer domain.EngineInfo) domain.EngineInfo {
	return domain.EngineInfo{
		Ready:      newer.Ready,
		Version:    cmp.Or(newer.Version, info.Version),
		APIVersion: cmp.Or(newer.APIVersion, info.APIVersion),
	}
}
