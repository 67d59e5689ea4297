package domain

import (
	"fmt"
	"time"
)

// MachineName identifies a virtual machine of one user.
type MachineName string

// The machines that ArcBox itself owns.
const (
	DefaultMachine MachineName = "default"
	RosettaMachine MachineName = "rosetta"
)

const maxMachineName = 63

// ParseMachineName checks a name: a DNS label, so that it can be a host name
// and a directory.
func ParseMachineName(s string) (MachineName, error) {
	if s == "" || len(s) > maxMachineName {
		return "", fmt.Errorf("machine name %q must have 1 to %d characters: %w", s, maxMachineName, ErrInvalid)
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' || i == 0 || i == len(s)-1) {
			return "", fmt.Errorf("machine name %q must be lower-case letters, digits and inner hyphens: %w", s, ErrInvalid)
		}
	}
	return MachineName(s), nil
}

// Machine is the persistent definition of a virtual machine. It never holds a
// transient state: whether the machine runs is found by looking.
type Machine struct {
	Name      MachineName
	CPUs      int
	Memory    MiB
	Disk      GiB // size of the data disk
	Kernel    string
	Cmdline   string
	Disks     []Disk
	CreatedAt time.Time
}

// Drift names the fields in which the recorded machine differs from the wanted
// one, in the order in which they are declared. A machine without drift can be
// started as it is; with drift its record is replaced and its data disk kept.
func Drift(recorded, wanted Machine) []string {
	var d []string
	if recorded.CPUs != wanted.CPUs {
		d = append(d, "cpus")
	}
	if recorded.Memory != wanted.Memory {
		d = append(d, "memory")
	}
	if recorded.Kernel != wanted.Kernel {
		d = append(d, "kernel")
	}
	if recorded.Cmdline != wanted.Cmdline {
		d = append(d, "cmdline")
	}
	if len(recorded.Disks) != len(wanted.Disks) {
		return append(d, "disks")
	}
	for i := range recorded.Disks {
		if recorded.Disks[i] != wanted.Disks[i] {
			return append(d, "disks")
		}
	}
	return d
}

// Validate checks a definition that came from outside. The bounds are those of
// no real host; what a host can run is the hypervisor's to say.
func (m Machine) Validate() error {
	if _, err := ParseMachineName(string(m.Name)); err != nil {
		return err
	}
	if m.CPUs < 1 || m.CPUs > maxMachineCPUs {
		return fmt.Errorf("machine %q: %d cpus, want 1 to %d: %w", m.Name, m.CPUs, maxMachineCPUs, ErrInvalid)
	}
	if m.Memory < 1 || m.Memory > maxMachineMemory {
		return fmt.Errorf("machine %q: memory of %d MiB, want 1 to %d: %w", m.Name, m.Memory, maxMachineMemory, ErrInvalid)
	}
	if m.Disk > MaxDisk {
		return fmt.Errorf("machine %q: disk of %d GiB, want at most %d: %w", m.Name, m.Disk, MaxDisk, ErrInvalid)
	}
	for i, d := range m.Disks {
		if d.Path == "" {
			return fmt.Errorf("machine %q: disk %d has no path: %w", m.Name, i, ErrInvalid)
		}
	}
	return nil
}

const (
	maxMachineCPUs       = 1024
	maxMachineMemory MiB = 16 << 20
)

// MaxDisk is the largest data disk. Common host file systems hold no larger file.
const MaxDisk GiB = 15 << 10
