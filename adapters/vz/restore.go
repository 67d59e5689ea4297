package vz

import (
	"context"
	"fmt"

	"arcbox/application/port"
	"arcbox/domain"
)

// Capabilities are what machines on this host can do beside running.
type Capabilities struct {
	// SaveRestore says that states can be saved and restored, as far as the host
	// goes: a machine that can implements Saver. WhyNot is set when it is false.
	SaveRestore bool
	WhyNot      string
	// Rosetta says whether machines can translate amd64 programs.
	Rosetta RosettaState
}

// minSaving is the first macOS that saves and restores machines.
const minSaving = 14

// Capabilities looks at the host as Probe does.
func (h *Hypervisor) Capabilities(context.Context) (Capabilities, error) {
	f, err := h.look()
	if err != nil {
		return Capabilities{}, err
	}
	if _, err := judge(f); err != nil {
		return Capabilities{}, err
	}
	return capabilities(f, h.arch), nil
}

func capabilities(f facts, arch string) Capabilities {
	c := Capabilities{Rosetta: f.Rosetta}
	major, err := majorVersion(f.Version)
	switch {
	case arch != "arm64":
		c.WhyNot = "it needs Apple silicon"
	case err != nil || major < minSaving:
		c.WhyNot = fmt.Sprintf("it needs macOS %d or newer", minSaving)
	default:
		c.SaveRestore = true
	}
	return c
}

// Restore starts a machine that goes on from the state that Saver.Save wrote to
// path, and returns when its processor runs. The state is not removed; it is of no
// use any more once the machine has written to a disk. As for Start otherwise.
//
// Errors: domain.ErrNotFound without a state, domain.ErrInvalidState for a state that
// does not fit the machine and its disks any more, domain.ErrCorrupt for a damaged
// record, domain.ErrUnsupported where Capabilities says so. After each of them a
// Start boots the machine as after a loss of power.
func (h *Hypervisor) Restore(ctx context.Context, spec port.VMSpec, path string) (port.VM, error) {
	return h.run(ctx, spec, path)
}

// identify finds the identifier of the machine whose state is at path, if a machine
// with the configuration c may go on from there.
func (h *Hypervisor) identify(path string, name domain.MachineName, c Configuration, f facts) ([]byte, error) {
	if err := checkStatePath(path); err != nil {
		return nil, err
	}
	if can := capabilities(f, h.arch); !can.SaveRestore {
		return nil, fmt.Errorf("restoring a machine: %s: %w", can.WhyNot, domain.ErrUnsupported)
	}
	r, err := readRecord(path)
	if err != nil {
		return nil, err
	}
	now, err := markFiles(c, path)
	if err != nil {
		return nil, err
	}
	if err := r.check(name, c, now); err != nil {
		return nil, err
	}
	return r.Configuration.Identifier, nil
}

// beginning is how a machine comes to run: from the start, or from the state at a path.
func beginning(g guest, path string) func() error {
	if path == "" {
		return g.Start
	}
	return func() error {
		if err := g.Restore(path); err != nil {
			return err
		}
		err := g.Resume()
		if err != nil {
			// It stands still and would keep its disks. What is wrong is the resume.
			_ = g.Stop()
		}
		return err
	}
}
