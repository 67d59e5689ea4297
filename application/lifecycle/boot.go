package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// boot is one boot of the machine: prepared once, tried within the budget.
type boot struct {
	*Actor
	generation uint64
	news       tellFunc
	left       *run // a machine that failed and could not be taken down
}

// bootTask boots the machine, after what an earlier run left behind is closed.
func (a *Actor) bootTask(create bool) taskFunc {
	leftover, remains := a.run, a.remains
	generation := a.generation
	return func(ctx context.Context, tell tellFunc) (*run, domain.LifecycleEvent) {
		b := boot{Actor: a, generation: generation, news: tell}
		begin := time.Now()
		if err := a.clear(ctx, remains, leftover); err != nil {
			return nil, domain.BootFailed{Err: err, Left: true}
		}
		machine, err := b.prepare(ctx, create)
		if err != nil {
			return nil, domain.BootFailed{Err: fmt.Errorf("preparing the virtual machine %q: %w", a.options.Machine, err)}
		}
		r, err := b.start(ctx, machine)
		if err != nil {
			a.log.Error("the virtual machine did not start", "error", err)
			return b.left, domain.BootFailed{Err: err, Left: b.left != nil}
		}
		a.log.Info("the virtual machine is up", "after", time.Since(begin).Round(time.Millisecond))
		return r, domain.AgentReady{}
	}
}

// clear closes what earlier runs have left behind: two machines must not share
// a disk.
func (a *Actor) clear(ctx context.Context, m *remains, leftover *run) error {
	if m != nil {
		select {
		case <-m.gone:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.options.budget(a.options.Timing.Kill, domain.HypervisorInfo{Accelerator: domain.AcceleratorTCG})):
			return fmt.Errorf("waiting for an aborted start or stop to end: %w", domain.ErrTimeout)
		}
		var still []*run
		for _, r := range m.left {
			if _, failed := a.takeDown(ctx, r, nil).(domain.StopFailed); failed {
				still = append(still, r)
			}
		}
		if m.left = still; len(still) > 0 {
			return fmt.Errorf("taking an earlier virtual machine down: %w", domain.ErrUnavailable)
		}
	}
	if leftover != nil {
		if e, failed := a.takeDown(ctx, leftover, nil).(domain.StopFailed); failed {
			return e.Err
		}
	}
	return nil
}

// prepare makes sure that everything is on disk and that the record is what is
// wanted.
func (b *boot) prepare(ctx context.Context, create bool) (domain.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.Timing.Prepare)
	defer cancel()
	assets, err := b.ports.Assets.Resolve(ctx)
	if err != nil {
		return domain.Machine{}, fmt.Errorf("getting the boot assets: %w", err)
	}
	runtimeDisk, err := b.ports.Disks.EnsureRuntime(ctx)
	if err != nil {
		return domain.Machine{}, fmt.Errorf("packing the runtime disk: %w", err)
	}
	wanted := WantedMachine(b.options, assets, runtimeDisk)
	if err := b.ports.Disks.EnsureData(ctx, b.options.DataDisk, b.options.Disk); err != nil {
		return domain.Machine{}, fmt.Errorf("making the data disk: %w", err)
	}
	return b.record(ctx, wanted, create)
}

// record makes the stored machine the wanted one. Its data disk is kept
// whatever happens to the record.
func (b *boot) record(ctx context.Context, wanted domain.Machine, create bool) (domain.Machine, error) {
	recorded, err := b.ports.Store.Load(ctx, wanted.Name)
	missing := errors.Is(err, domain.ErrNotFound)
	switch {
	case missing && !create:
		b.log.Warn("the machine's record is gone; making it again")
	case missing:
	case errors.Is(err, domain.ErrCorrupt):
		b.log.Warn("the machine's record cannot be read; making it again, its disks are kept", "error", err)
	case err != nil:
		return domain.Machine{}, fmt.Errorf("reading the machine's record: %w", err)
	default:
		drift := domain.Drift(recorded, wanted)
		wanted.CreatedAt = recorded.CreatedAt
		if len(drift) == 0 && recorded.Disk == wanted.Disk {
			return recorded, nil
		}
		if len(drift) > 0 {
			b.log.Info("the machine is not as configured; making it again, its data disk is kept", "drift", drift)
		}
	}
	if wanted.CreatedAt.IsZero() {
		wanted.CreatedAt = time.Now().UTC()
	}
	if err := b.ports.Store.Save(ctx, wanted); err != nil {
		return domain.Machine{}, fmt.Errorf("recording the machine: %w", err)
	}
	if missing {
		b.news(domain.Created{}, domain.HypervisorInfo{})
	}
	return wanted, nil
}

// start tries to start the machine until its agent answers or the budget is
// used up. The budget follows what the machine turns out to run on.
func (b *boot) start(ctx context.Context, machine domain.Machine) (*run, error) {
	t := b.options.Timing
	begin := time.Now()
	var info domain.HypervisorInfo
	left := func() time.Duration { return b.options.budget(t.Startup, info) - time.Since(begin) }
	for tried := 1; ; tried++ {
		bounded, cancel := context.WithTimeout(ctx, left())
		probed, err := b.ports.Hypervisor.Probe(bounded)
		cancel()
		var r *run
		if err != nil {
			err = fmt.Errorf("looking for a way to run virtual machines: %w", err)
		} else {
			info = probed
			b.news(nil, info)
			r, err = b.try(ctx, machine, &info, left)
		}
		if err == nil {
			return r, nil
		}
		if cause := ctx.Err(); cause != nil {
			return nil, fmt.Errorf("starting the virtual machine %q: %w: %w", b.options.Machine, domain.ErrCanceled, cause)
		}
		pause, again := t.Retries.Next(tried, left())
		if !again || b.left != nil || !domain.BootRetryable(err) {
			return nil, b.failure(err, tried, left())
		}
		b.log.Warn("the virtual machine did not start; trying again", "try", tried, "pause", pause, "error", err)
		sleep(ctx, pause)
	}
}

func (b *boot) failure(err error, tried int, left time.Duration) error {
	if left <= 0 && !errors.Is(err, domain.ErrTimeout) {
		err = fmt.Errorf("%w: %w", domain.ErrTimeout, err)
	}
	return fmt.Errorf("the virtual machine %q did not start (tries: %d): %w", b.options.Machine, tried, err)
}

// try starts the machine once. On failure everything that it opened is closed.
func (b *boot) try(ctx context.Context, machine domain.Machine, info *domain.HypervisorInfo, left func() time.Duration) (_ *run, err error) {
	var opened undo
	var vm port.VM
	defer func() {
		if err == nil {
			return
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.budget(b.options.Timing.Kill, *info))
		defer cancel()
		if closing := opened.close(bounded); closing != nil {
			err = fmt.Errorf("%w; and %w", err, closing)
			if vm != nil {
				b.left = &run{closing: make(chan struct{}, 1), vm: vm, inst: newInstance(b.generation, vm, nil, nil), info: *info, undo: opened}
			}
		}
	}()
	starting, cancel := context.WithTimeout(ctx, left())
	defer cancel()
	config, err := b.ports.HostConfig.GuestConfig(starting)
	if err != nil {
		return nil, fmt.Errorf("reading what the guest has to know of the host: %w", err)
	}
	link, err := b.ports.Networks.Open(machine.Name)
	if err != nil {
		return nil, fmt.Errorf("opening the network: %w", err)
	}
	opened.add("network", func(context.Context) error { return link.Close() })
	shares, err := b.share(machine.Name, config.Shares, &opened)
	if err != nil {
		return nil, err
	}

	vm, err = b.ports.Hypervisor.Start(starting, port.VMSpec{Plan: b.plan(machine, link, config.Shares), Link: link, Shares: shares})
	if err != nil {
		vm = nil
		return nil, fmt.Errorf("starting the hypervisor: %w", err)
	}
	opened.add("virtual machine", vm.Kill)
	*info = vm.Info()

	session, err := b.connect(ctx, vm, left())
	if err != nil {
		return nil, err
	}
	opened.add("agent session", func(context.Context) error { return session.Close() })
	if err := b.configure(ctx, vm, session, config, left()); err != nil {
		return nil, err
	}
	r := &run{
		closing: make(chan struct{}, 1),
		vm:      vm, session: session, inst: newInstance(b.generation, vm, session, link),
		info: *info, hello: session.Hello(), started: time.Now(), undo: opened,
	}
	if _, ok := vm.(port.Balloon); ok {
		r.balloon = make(chan domain.MiB, 1)
	}
	return r, nil
}

// share opens the wire to the shares, which lasts longer than the machine; nil
// where there is none, or the hypervisor serves them.
func (b *boot) share(name domain.MachineName, shares []domain.Share, opened *undo) (port.ShareLink, error) {
	if b.ports.Shares == nil || len(shares) == 0 {
		return nil, nil
	}
	link, err := b.ports.Shares.Open(name, shares)
	if err != nil {
		return nil, fmt.Errorf("opening the shared directories: %w", err)
	}
	opened.add("shared directories", func(context.Context) error { return link.Close() })
	return link, nil
}

func (b *boot) plan(m domain.Machine, link port.NetworkLink, shares []domain.Share) domain.VMPlan {
	return domain.VMPlan{
		Name: m.Name, CPUs: m.CPUs, Memory: m.Memory, Kernel: m.Kernel, Cmdline: m.Cmdline, Disks: m.Disks,
		MAC: link.MAC(), MTU: link.MTU(), Shares: shares,
		ConsoleLog:  b.ports.Logs.Path(m.Name, "kernel"),
		Accelerator: b.options.Accelerator,
	}
}
