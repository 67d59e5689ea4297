package vz

import (
	"fmt"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// The framework saves machines on Apple silicon only, and the library has no calls for
// it elsewhere.

func checkSavable(*vz.VirtualMachineConfiguration) error {
	return fmt.Errorf("saving a machine's state needs Apple silicon: %w", domain.ErrUnsupported)
}

func saveState(*vz.VirtualMachine, string) error { return checkSavable(nil) }

func restoreState(*vz.VirtualMachine, string) error { return checkSavable(nil) }
