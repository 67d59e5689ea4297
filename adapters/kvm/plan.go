package kvm

import (
	"fmt"
	"strings"

	"arcbox/domain"
)

// Limits of a plan. The processors are what q35 takes without further devices;
// the disks leave PCI slots for everything else on the root bus.
const (
	maxCPUs  = 255
	maxDisks = 16
	minMTU   = 68 // virtio's smallest (VIRTIO 1.1, 5.1.4)
	maxMTU   = 65535
)

// checkPlan says what is wrong with a plan before anything is done with it;
// the error wraps domain.ErrInvalid.
func checkPlan(p domain.VMPlan, withLink bool) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("plan of machine %q: %s: %w", p.Name, fmt.Sprintf(format, a...), domain.ErrInvalid)
	}
	if _, err := domain.ParseMachineName(string(p.Name)); err != nil {
		return err
	}
	switch {
	case p.CPUs < 1 || p.CPUs > maxCPUs:
		return bad("%d processors, want 1 to %d", p.CPUs, maxCPUs)
	case p.Memory < 1 || p.Memory > 1<<40:
		return bad("memory of %d MiB", p.Memory)
	case p.Kernel == "":
		return bad("no kernel")
	case len(p.Disks) > maxDisks:
		return bad("%d disks, want at most %d", len(p.Disks), maxDisks)
	}
	for i, d := range p.Disks {
		if d.Path == "" {
			return bad("disk %d has no path", i)
		}
	}
	for _, s := range append([]string{p.Kernel, p.Cmdline, p.ConsoleLog}, diskPaths(p)...) {
		if strings.ContainsRune(s, 0) {
			return bad("%q has a zero byte", s)
		}
	}
	if withLink {
		switch {
		case p.MTU != 0 && (p.MTU < minMTU || p.MTU > maxMTU):
			return bad("MTU %d, want %d to %d", p.MTU, minMTU, maxMTU)
		case p.MAC == [6]byte{} || p.MAC[0]&1 != 0:
			return bad("MAC address %x is not one of an interface", p.MAC)
		}
	}
	switch p.Accelerator {
	case "", domain.AcceleratorAuto, domain.AcceleratorKVM, domain.AcceleratorTCG:
		return nil
	default:
		return bad("accelerator %q, want auto, kvm or tcg", p.Accelerator)
	}
}

func diskPaths(p domain.VMPlan) []string {
	paths := make([]string, len(p.Disks))
	for i, d := range p.Disks {
		paths[i] = d.Path
	}
	return paths
}
