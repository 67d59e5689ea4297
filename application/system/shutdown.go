package system

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"arcbox/application/lifecycle"
	"arcbox/domain"
)

// Shutdown stops every machine in order, all at once, until ctx ends; no
// request boots one from then on. A machine that still boots is dropped: there
// is nothing in it to stop in order, and a stop would wait for its boot. What
// has not stopped when ctx ends is named in the error, goes on stopping, and is
// ShutdownForce's.
func (s *System) Shutdown(ctx context.Context) error {
	return s.each(func(vm *lifecycle.Actor) error {
		if vm.Status().State.Booting() {
			return vm.ForceStop(ctx)
		}
		return vm.Stop(ctx)
	})
}

// ShutdownForce takes every machine down at once, and pre-empts a Shutdown
// that is under way, whose caller is answered too.
func (s *System) ShutdownForce(ctx context.Context) error {
	return s.each(func(vm *lifecycle.Actor) error { return vm.ForceStop(ctx) })
}

func (s *System) each(stop func(*lifecycle.Actor) error) error {
	for _, vm := range s.ports.Machines {
		vm.Refuse()
	}
	errs := make([]error, len(domain.Roles()))
	var all sync.WaitGroup
	for i, role := range domain.Roles() {
		vm := s.ports.Machines[role]
		if vm == nil {
			continue
		}
		all.Go(func() {
			if err := stop(vm); err != nil {
				errs[i] = fmt.Errorf("stopping the %s machine: %w", role, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
