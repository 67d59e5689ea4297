package vz

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"

	"github.com/Code-Hex/vz/v3"

	"arcbox/domain"
)

// New returns a Hypervisor on Virtualization.framework. Nothing is looked at before the
// first call. The program must be signed with the entitlement
// com.apple.security.virtualization.
func New(o Options, log *slog.Logger) *Hypervisor {
	return newHypervisor(o, apple{}, runtime.GOARCH, log)
}

// apple is the framework. It holds nothing: the library does.
type apple struct{}

// Facts asks the kernel first: on a macOS that is too old the library must not be
// asked for more.
func (apple) Facts() (facts, error) {
	version, err := macOSVersion()
	if err != nil {
		return facts{}, err
	}
	f := facts{Version: version, Rosetta: RosettaUnsupported}
	if major, err := majorVersion(version); err != nil || major < minMajor {
		return f, nil // judge says what is wrong
	}
	support, err := syscall.SysctlUint32("kern.hv_support")
	if err != nil || support == 0 {
		return f, nil
	}
	f.Hypervisor = true
	f.Rosetta = rosettaState()
	f.Limits = Limits{
		MinCPUs:   int(vz.VirtualMachineConfigurationMinimumAllowedCPUCount()),
		MaxCPUs:   int(vz.VirtualMachineConfigurationMaximumAllowedCPUCount()),
		MinMemory: ceilMiB(vz.VirtualMachineConfigurationMinimumAllowedMemorySize()),
		MaxMemory: floorMiB(vz.VirtualMachineConfigurationMaximumAllowedMemorySize()),
	}
	return f, nil
}

func macOSVersion() (string, error) {
	version, err := syscall.Sysctl("kern.osproductversion")
	if err != nil {
		return "", fmt.Errorf("reading the version of macOS: %w: %w", domain.ErrUnsupported, err)
	}
	return version, nil
}

func macOSMajor() (int, error) {
	version, err := macOSVersion()
	if err != nil {
		return 0, err
	}
	return majorVersion(version)
}

// translate turns the library's error into one that the portable part knows.
func translate(err error) error {
	var e *vz.NSError
	if err == nil || !errors.As(err, &e) || e == nil {
		return err
	}
	return &frameworkError{Domain: e.Domain, Code: e.Code, Text: describe(e.LocalizedDescription, e.UserInfo)}
}
