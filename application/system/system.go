// Package system starts and stops the whole: it brings up what the daemon
// offers in order, tells how far it is, and takes the machines down at the end.
package system

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

// BootMode says when the native machine boots.
type BootMode string

// Boot modes.
const (
	// BootEager boots it while the daemon starts.
	BootEager BootMode = "eager"
	// BootOnDemand boots it for the first request.
	BootOnDemand BootMode = "on_demand"
)

// EventSource lets events be watched; see port.System.Watch.
type EventSource interface {
	Watch(ctx context.Context, f func(e domain.Event, missed int) error) error
}

// Options is how the daemon starts and stops.
type Options struct {
	Boot BootMode
	// AbortTimeout bounds taking the machine down when the start is
	// interrupted; 0 means 10 s.
	AbortTimeout time.Duration
}

const defaultAbortTimeout = 10 * time.Second

// Ports is what a System works with. Network may be nil; the rest is required.
type Ports struct {
	Machines map[domain.Role]*lifecycle.Actor // RoleNative is among them
	Engines  port.Engines
	Assets   port.BootAssets
	Events   EventSource
	// Network says what of the host's side does not serve, as what is told of
	// the start; nil is all of it. Sockets are open before a start begins, and
	// what could not be opened goes on trying, so it does not wait.
	Network func() error
	// Space is for Prune, and for what VM says of the data disk's image.
	Space Space
	Log   *slog.Logger
}

// System implements port.System.
type System struct {
	options Options
	ports   Ports
	log     *slog.Logger
	setup   *history
}

var _ port.System = (*System)(nil)

// New returns a system that has not started. It returns domain.ErrInvalid for
// an unknown boot mode or without a native machine.
func New(o Options, p Ports) (*System, error) {
	if o.Boot != BootEager && o.Boot != BootOnDemand {
		return nil, fmt.Errorf("boot mode %q: want %s or %s: %w", o.Boot, BootEager, BootOnDemand, domain.ErrInvalid)
	}
	if p.Machines[domain.RoleNative] == nil {
		return nil, fmt.Errorf("there is no native machine: %w", domain.ErrInvalid)
	}
	if o.AbortTimeout <= 0 {
		o.AbortTimeout = defaultAbortTimeout
	}
	return &System{options: o, ports: p, log: p.Log, setup: newHistory()}, nil
}

// Run keeps SetupStatus.VMRunning equal to what the native machine is, and ends
// a degraded state once its engine answers, until ctx ends.
func (s *System) Run(ctx context.Context) {
	vm := s.ports.Machines[domain.RoleNative]
	for {
		snapshot := vm.Snapshot()
		running := snapshot.Instance != nil
		s.setup.update(func(st *domain.SetupStatus) {
			st.VMRunning = running
			if running && snapshot.Status.Guest.EngineReady && st.Phase == domain.PhaseDegraded {
				st.Phase, st.Message, st.Error = domain.PhaseReady, "ready", ""
			}
		})
		select {
		case <-snapshot.Changed:
		case <-ctx.Done():
			return
		}
	}
}

// Setup implements port.System.
func (s *System) Setup() domain.SetupStatus { return s.setup.newest() }

// WatchSetup implements port.System. It returns ctx's error, f's error, or
// domain.ErrUnavailable to a watcher so slow that updates were lost.
func (s *System) WatchSetup(ctx context.Context, f func(domain.SetupStatus) error) error {
	return s.setup.watch(ctx, f)
}

// Watch implements port.System.
func (s *System) Watch(ctx context.Context, f func(e domain.Event, missed int) error) error {
	return s.ports.Events.Watch(ctx, f)
}

// VM implements port.System. A role that this host does not have does not exist.
func (s *System) VM(role domain.Role) domain.VMStatus {
	if vm := s.ports.Machines[role]; vm != nil {
		status := vm.Status()
		if role == domain.RoleNative {
			status.Image = s.image()
		}
		return status
	}
	return domain.VMStatus{Machine: role.Machine(), State: domain.StateNotExist, Reason: s.missing(role).Error()}
}

// StartVM implements port.System.
func (s *System) StartVM(ctx context.Context, role domain.Role) error {
	vm := s.ports.Machines[role]
	if vm == nil {
		return s.missing(role)
	}
	_, err := vm.EnsureReady(ctx)
	return err
}

// StopVM implements port.System.
func (s *System) StopVM(ctx context.Context, role domain.Role, force bool) error {
	vm := s.ports.Machines[role]
	switch {
	case vm == nil:
		return s.missing(role)
	case force:
		return vm.ForceStop(ctx)
	}
	return vm.Stop(ctx)
}

func (s *System) missing(role domain.Role) error {
	err := fmt.Errorf("this host has no machine for the role %q: %w", role, domain.ErrUnsupported)
	if role == domain.RoleRosetta {
		return domain.WithHint(err, "the rosetta role needs macOS on Apple silicon")
	}
	return err
}
