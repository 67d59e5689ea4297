package vz

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Hypervisor runs machines with Virtualization.framework. It implements
// port.Hypervisor. New, on macOS only, makes one.
type Hypervisor struct {
	options   Options
	framework framework
	arch      string // of the guests, in Go's spelling
	log       *slog.Logger

	once  sync.Once
	facts facts
	err   error
}

var _ port.Hypervisor = (*Hypervisor)(nil)

func newHypervisor(o Options, f framework, arch string, log *slog.Logger) *Hypervisor {
	return &Hypervisor{options: o.withDefaults(), framework: f, arch: arch, log: log}
}

// Probe finds whether this Mac can run machines.
//
// Errors: domain.ErrUnsupported with a hint for a macOS that is too old, and for a Mac
// without hardware virtualization.
func (h *Hypervisor) Probe(context.Context) (domain.HypervisorInfo, error) {
	f, err := h.look()
	if err != nil {
		return domain.HypervisorInfo{}, err
	}
	return judge(f)
}

// look finds the host's facts, which do not change while the program runs. Rosetta
// can be installed meanwhile; that takes a restart of the program.
func (h *Hypervisor) look() (facts, error) {
	h.once.Do(func() { h.facts, h.err = h.framework.Facts() })
	return h.facts, h.err
}

// Start starts a machine and returns when its processor runs.
//
// Errors: domain.ErrInvalid for a plan that no machine can have, a kernel that is no
// image, a share that is no directory, or a link that is no datagram socket; otherwise as Probe, or the framework's own
// words.
func (h *Hypervisor) Start(ctx context.Context, spec port.VMSpec) (port.VM, error) {
	return h.run(ctx, spec, "")
}

// run starts a machine anew, or from the saved state at a path.
func (h *Hypervisor) run(ctx context.Context, spec port.VMSpec, saved string) (port.VM, error) {
	m, err := h.start(ctx, spec, saved)
	switch {
	case err != nil:
		return nil, err // a plain nil, not a nil *machine in an interface, is what a caller tests for
	case m.savable:
		return savingMachine{m}, nil
	default:
		return m, nil
	}
}

func (h *Hypervisor) start(ctx context.Context, spec port.VMSpec, saved string) (*machine, error) {
	plan := spec.Plan
	doing := fmt.Sprintf("starting machine %s", plan.Name)
	f, err := h.look()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	info, err := judge(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	c, err := Configure(plan, Attachments{Link: spec.Link != nil, Rosetta: h.options.Rosetta(plan.Name)}, f.Limits)
	if err != nil {
		return nil, err
	}
	if err := h.checkHost(&c, f); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if c.CPUs != plan.CPUs || c.Memory != plan.Memory {
		h.log.Warn("the machine's size is not possible on this host", "machine", plan.Name,
			"cpus", plan.CPUs, "memory_mib", plan.Memory, "given_cpus", c.CPUs, "given_memory_mib", c.Memory)
	}
	if saved != "" {
		if c.Identifier, err = h.identify(saved, plan.Name, c, f); err != nil {
			return nil, fmt.Errorf("%s: %w", doing, err)
		}
	}
	m, err := h.assemble(plan.Name, c, spec.Link, info, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	m.begin = beginning(m.guest, saved)
	go m.supervise() // ends with the machine; Done says when
	if err := m.awaitStart(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	m.log.Info("machine runs", "cpus", c.CPUs, "memory_mib", c.Memory, "restored", saved != "")
	return m, nil
}

// checkHost says whether the host has what a configuration names, and follows the
// links in the paths of its shares.
func (h *Hypervisor) checkHost(c *Configuration, f facts) (err error) {
	if c.Rosetta != "" {
		if err := checkRosetta(f.Rosetta); err != nil {
			return err
		}
	}
	if c.Shares, err = resolveShares(c.Shares); err != nil {
		return err
	}
	return checkKernelFile(c.Kernel, h.arch)
}

// assemble makes a machine that is not started and owned by nobody yet.
func (h *Hypervisor) assemble(name domain.MachineName, c Configuration, link port.NetworkLink, info domain.HypervisorInfo, f facts) (_ *machine, err error) {
	m := &machine{
		name: name, info: info, memory: c.Memory, minMemory: min(f.Limits.MinMemory, c.Memory),
		pause: newPause(), transition: make(chan struct{}, 1),
		stop: h.options.StopTimeout, log: h.log.With("machine", name),
		kill: make(chan struct{}, 1), running: make(chan struct{}), down: make(chan struct{}), done: make(chan struct{}),
	}
	var r resources
	defer func() {
		if err == nil {
			return
		}
		m.console.close()
		if m.link != nil {
			m.link.Close()
		}
	}()
	if c.Network != nil {
		if m.link, err = duplicateLink(link.File(), *c.Network); err != nil {
			return nil, err
		}
		r.Link = m.link
	}
	if c.Console != "" {
		if m.console, err = startConsole(c.Console, h.options.ConsoleLimit, m.log); err != nil {
			return nil, err
		}
		r.ConsoleInput, r.ConsoleOutput = m.console.input, m.console.output
	}
	if m.guest, err = h.framework.Build(c, r); err != nil {
		return nil, explain("making the machine", err)
	}
	m.config = c
	m.config.Identifier = m.guest.Identifier()
	if capabilities(f, h.arch).SaveRestore {
		if err := m.guest.Savable(); err != nil {
			m.log.Debug("the machine's state cannot be saved", "reason", err)
		} else {
			m.savable = true
		}
	}
	return m, nil
}

// awaitStart returns when the processor runs. When ctx ends first, the machine is taken
// down, and this waits for that, so that its disks are free again, but not forever.
func (m *machine) awaitStart(ctx context.Context) error {
	select {
	case <-m.running:
		return nil
	case <-m.done:
		return m.startError()
	case <-ctx.Done():
	}
	m.wantStop()
	select {
	case <-m.done:
	case <-time.After(m.stop):
		m.log.Error("the framework does not end the start of a machine", "after", m.stop)
	}
	return fmt.Errorf("waiting for the processor to run: %w%s", contextError(ctx), m.console.quote())
}
