package vz

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// setPlatform gives the machine an identifier, a new one when none is given, and
// returns it.
func setPlatform(v *vz.VirtualMachineConfiguration, identifier []byte) ([]byte, error) {
	id, err := machineIdentifier(identifier)
	if err != nil {
		return nil, err
	}
	// The library has it in memory of the framework.
	identifier = bytes.Clone(id.DataRepresentation())
	if len(identifier) == 0 {
		// The framework answered with no object, which the library wraps all the same.
		return nil, fmt.Errorf("the framework has none for it: %w", domain.ErrInvalid)
	}
	platform, err := vz.NewGenericPlatformConfiguration(vz.WithGenericMachineIdentifier(id))
	if err != nil {
		return nil, err
	}
	v.SetPlatformVirtualMachineConfiguration(platform)
	runtime.KeepAlive(platform)
	runtime.KeepAlive(id)
	return identifier, nil
}

func machineIdentifier(identifier []byte) (*vz.GenericMachineIdentifier, error) {
	if len(identifier) == 0 {
		return vz.NewGenericMachineIdentifier()
	}
	return vz.NewGenericMachineIdentifierWithData(identifier)
}
