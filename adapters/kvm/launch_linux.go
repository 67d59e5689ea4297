package kvm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"arcbox/application/port"
	"arcbox/domain"
)

// cidAttempts is how many context ids are tried: they are the host's, and another
// program may take one between our choice and QEMU's use.
const cidAttempts = 3

// launch runs one QEMU for spec as info says.
func (h *Hypervisor) launch(ctx context.Context, spec port.VMSpec, binary string, info domain.HypervisorInfo) (*machine, error) {
	for attempt := 1; ; attempt++ {
		m, err := h.launchOnce(ctx, spec, binary, info)
		if err == nil || attempt == cidAttempts || !cidTaken(err) {
			return m, err
		}
		h.log.Debug("the vsock context id is taken, trying another", "machine", spec.Plan.Name)
	}
}

// cidTaken recognises QEMU's message (hw/virtio/vhost-vsock.c).
func cidTaken(err error) bool {
	var e *startError
	return errors.As(err, &e) &&
		strings.Contains(e.output, "unable to set guest cid") && strings.Contains(e.output, "in use")
}

func (h *Hypervisor) launchOnce(ctx context.Context, spec port.VMSpec, binary string, info domain.HypervisorInfo) (_ *machine, err error) {
	plan := spec.Plan
	m := &machine{
		memory: plan.Memory,
		info:   info,
		quit:   h.options.QuitTimeout,
		rest:   storageRetry,
		settle: settleTime,
		leave:  leaveLimit,
		pause:  newPause(),
		log:    h.log.With("machine", plan.Name),
		kill:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	r := Resources{Arch: hostArch(), Accelerator: info.Accelerator}
	var inherit inheritance
	defer func() {
		if m.qemu != nil {
			return // QEMU started: everything is its supervisor's
		}
		inherit.close()
		if m.console != nil {
			m.console.close()
		}
		if m.device != nil {
			err = errors.Join(err, m.device.Close())
		}
	}()
	if spec.Link != nil {
		if r.NetFD, err = inherit.addDuplicate(spec.Link.File()); err != nil {
			return nil, err
		}
	}
	if spec.Shares != nil {
		if r.SharesFD, err = inherit.addDuplicate(spec.Shares.File()); err != nil {
			return nil, err
		}
	}
	if err = h.attachVsock(m, plan.Name, &r, &inherit); err != nil {
		return nil, err
	}
	if plan.ConsoleLog != "" {
		c, remote, err := startConsole(plan.ConsoleLog, h.options.ConsoleLimit, m.log)
		if err != nil {
			return nil, err
		}
		m.console = c
		r.ConsoleFD = inherit.add(remote)
	}
	m.qemu, err = startQEMU(ctx, binary, h.options, &inherit, func(fd int) []string {
		r.MonitorFD = fd
		return Args(plan, r)
	})
	if err != nil {
		return nil, err
	}
	go m.supervise() // ends with QEMU; Done says when
	if err := m.qemu.monitor.Execute(ctx, "cont", nil, nil); err != nil {
		return nil, m.giveUp(err)
	}
	m.log.Info("machine runs", "pid", m.qemu.cmd.Process.Pid, "accelerator", info.Accelerator)
	return m, nil
}

func (h *Hypervisor) attachVsock(m *machine, name domain.MachineName, r *Resources, inherit *inheritance) error {
	if h.vsock == nil {
		return nil
	}
	device, err := h.vsock.Open(name)
	if err != nil {
		return fmt.Errorf("opening the vsock device: %w", err)
	}
	m.device = device
	if f := device.VhostUser(); f != nil {
		r.Vsock.FD, err = inherit.addDuplicate(f)
		return err
	}
	r.Vsock.CID = device.CID()
	return nil
}

// giveUp takes down a machine that did not start to run; its supervisor releases what
// it holds.
func (m *machine) giveUp(cause error) error {
	select {
	case <-m.done: // it went down by itself
	default:
		_ = m.Kill(context.Background())
	}
	e := &startError{crashed: m.qemu.crashed(), first: m.qemu.output.First(), output: m.qemu.output.String()}
	e.err = fmt.Errorf("starting the guest's processor: %w%s", cause, quoteStderr(e.output))
	return e
}
