package vz

import (
	"fmt"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// checkSavable says why the framework cannot save a machine with a configuration.
func checkSavable(v *vz.VirtualMachineConfiguration) error {
	// The library ends the program when this is asked of an older macOS.
	if version, err := macOSMajor(); err != nil || version < minSaving {
		return fmt.Errorf("it needs macOS %d: %w", minSaving, domain.ErrUnsupported)
	}
	ok, err := v.ValidateSaveRestoreSupport()
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("the framework cannot save a machine with these devices: %w", domain.ErrUnsupported)
	default:
		return nil
	}
}

func saveState(m *vz.VirtualMachine, path string) error { return m.SaveMachineStateToPath(path) }

func restoreState(m *vz.VirtualMachine, path string) error { return m.RestoreMachineStateFromURL(path) }
