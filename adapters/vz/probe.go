package vz

import (
	"fmt"
	"strconv"
	"strings"

	"arcbox/domain"
)

// driver is the name of this implementation in domain.HypervisorInfo.
const driver = "vz"

// minMajor is the first macOS with all that machines use.
const minMajor = 13

// RosettaState says whether this host can translate amd64 programs for a guest.
type RosettaState string

// States of Rosetta for Linux guests.
const (
	RosettaUnsupported  RosettaState = "unsupported"
	RosettaNotInstalled RosettaState = "not installed"
	RosettaInstalled    RosettaState = "installed"
)

// facts is what is known of this host.
type facts struct {
	Version    string // of macOS: "14.6.1"
	Hypervisor bool   // the processor and the kernel can run machines
	Limits     Limits
	Rosetta    RosettaState
}

// judge says whether machines can run on a host.
func judge(f facts) (domain.HypervisorInfo, error) {
	major, err := majorVersion(f.Version)
	switch {
	case err != nil:
		return domain.HypervisorInfo{}, fmt.Errorf("finding the version of macOS: %w: %w", domain.ErrUnsupported, err)
	case major < minMajor:
		return domain.HypervisorInfo{}, domain.WithHint(
			fmt.Errorf("virtual machines on macOS %s: %w", f.Version, domain.ErrUnsupported),
			fmt.Sprintf("update to macOS %d or newer", minMajor))
	case !f.Hypervisor:
		return domain.HypervisorInfo{}, domain.WithHint(
			fmt.Errorf("hardware virtualization: %w", domain.ErrUnsupported),
			"inside a virtual machine, switch nested virtualization on; otherwise this Mac has none")
	}
	return domain.HypervisorInfo{Driver: driver, Version: f.Version, Accelerator: domain.AcceleratorHVF}, nil
}

func majorVersion(s string) (int, error) {
	first, _, _ := strings.Cut(s, ".")
	n, err := strconv.Atoi(first)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no version", s)
	}
	return n, nil
}

// checkRosetta says whether a machine can have the share with Rosetta.
func checkRosetta(s RosettaState) error {
	switch s {
	case RosettaInstalled:
		return nil
	case RosettaNotInstalled:
		return domain.WithHint(fmt.Errorf("without Rosetta installed: %w", domain.ErrUnsupported), "softwareupdate --install-rosetta")
	default:
		return domain.WithHint(fmt.Errorf("translating amd64 programs with Rosetta: %w", domain.ErrUnsupported), "it needs macOS on Apple silicon")
	}
}

// ceilMiB and floorMiB turn limits in bytes into limits that are safe to use.
func ceilMiB(bytes uint64) domain.MiB  { return domain.MiB((bytes + 1<<20 - 1) >> 20) }
func floorMiB(bytes uint64) domain.MiB { return domain.MiB(bytes >> 20) }
