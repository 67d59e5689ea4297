package kvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"arcbox/application/port"
	"arcbox/domain"
)

// driver is the name of this implementation in domain.HypervisorInfo.
const driver = "qemu"

// Hypervisor runs machines with QEMU. It implements port.Hypervisor.
type Hypervisor struct {
	options Options
	vsock   port.VsockDevices
	log     *slog.Logger

	// probing is held by whoever probes or uses verdicts; a channel, so that
	// waiting for it has an end.
	probing  chan struct{}
	verdicts verdictFile
}

var _ port.Hypervisor = (*Hypervisor)(nil)

// New returns a Hypervisor; nothing is run or looked at before the first call.
// vsock makes the vsock device of each start; nil gives machines without one.
func New(o Options, vsock port.VsockDevices, log *slog.Logger) *Hypervisor {
	o = o.withDefaults()
	return &Hypervisor{
		options:  o,
		vsock:    vsock,
		log:      log,
		probing:  make(chan struct{}, 1),
		verdicts: verdictFile{path: o.VerdictFile},
	}
}

// Probe finds what this host can run: QEMU, its version, and whether it really
// starts on KVM. What takes time is done once per boot of the host and QEMU binary.
//
// Errors: domain.ErrUnsupported with a hint when there is no usable QEMU, or when
// KVM is wished for and cannot be used.
func (h *Hypervisor) Probe(ctx context.Context) (domain.HypervisorInfo, error) {
	info, _, err := h.choose(ctx, h.options.Accelerator)
	return info, err
}

// choose decides how a machine with this wish is run.
func (h *Hypervisor) choose(ctx context.Context, wish domain.Accelerator) (domain.HypervisorInfo, finding, error) {
	f, err := h.find(ctx, wish)
	if err != nil {
		return domain.HypervisorInfo{}, finding{}, err
	}
	info := domain.HypervisorInfo{Driver: driver, Version: f.verdict.Version.String()}
	if wish == domain.AcceleratorTCG {
		info.Accelerator, info.Reason = domain.AcceleratorTCG, "emulation is configured"
		return info, f, nil
	}
	usable, reason := f.kvm()
	switch {
	case usable:
		info.Accelerator = domain.AcceleratorKVM
	case wish == domain.AcceleratorKVM:
		return domain.HypervisorInfo{}, finding{}, domain.WithHint(fmt.Errorf("%s: %w", reason, domain.ErrUnsupported), kvmHint(f))
	default:
		info.Accelerator, info.Reason = domain.AcceleratorTCG, reason
	}
	return info, f, nil
}

// Start starts a machine and returns when its processor runs. Where KVM was
// chosen and no guest was ever seen running on it, Start also waits for the first sign of
// life on the console; without one it starts the machine again, emulated.
//
// Errors: domain.ErrInvalid for a plan that no machine can have, otherwise as
// Probe, or QEMU's own words.
func (h *Hypervisor) Start(ctx context.Context, spec port.VMSpec) (port.VM, error) {
	plan := spec.Plan
	if err := checkPlan(plan, spec.Link != nil); err != nil {
		return nil, err
	}
	wish := plan.Accelerator
	if wish == "" || wish == domain.AcceleratorAuto {
		wish = h.options.Accelerator
	}
	info, f, err := h.choose(ctx, wish)
	if err != nil {
		return nil, fmt.Errorf("starting machine %s: %w", plan.Name, err)
	}
	// A plain nil, not a nil *machine in an interface, is what a caller tests for.
	m, err := h.start(ctx, spec, info, f, wish)
	if err != nil {
		return nil, fmt.Errorf("starting machine %s: %w", plan.Name, err)
	}
	return m, nil
}

func (h *Hypervisor) start(ctx context.Context, spec port.VMSpec, info domain.HypervisorInfo, f finding, wish domain.Accelerator) (*machine, error) {
	if info.Accelerator != domain.AcceleratorKVM || wish == domain.AcceleratorKVM {
		return h.launch(ctx, spec, f.binary, info)
	}
	m, err := h.launch(ctx, spec, f.binary, info)
	if err == nil && (f.verdict.KVM == kvmProven || !speaks(spec.Plan)) {
		return m, nil
	}
	var why string
	if err != nil {
		if ctx.Err() != nil || !blamesKVM(err) {
			return nil, err
		}
		why = firstLine(err)
	} else if why, err = h.awaitLife(ctx, m); err != nil {
		return nil, err
	}
	if why == "" {
		h.note(f.verdict, kvmProven, "")
		return m, nil
	}
	h.note(f.verdict, kvmUnusable, why)
	h.log.Warn("KVM does not work on this host, starting again without it", "machine", spec.Plan.Name, "reason", why)
	info.Accelerator = domain.AcceleratorTCG
	info.Reason = "KVM does not work on this host: " + why
	return h.launch(ctx, spec, f.binary, info)
}

// blamesKVM tells a start that another accelerator may save from one that a
// wrong argument or a missing file failed.
func blamesKVM(err error) bool {
	var e *startError
	return errors.As(err, &e) && (e.crashed || mentionsKVM(e.output))
}
