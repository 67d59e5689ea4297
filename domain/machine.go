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
