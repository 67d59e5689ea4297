package store

import (
	"fmt"
	"time"

	"arcbox/domain"
)

// record is a machine as TOML. Keys that are not here are left to other
// versions.
type record struct {
	Name         string        `toml:"name"`
	CPUs         int           `toml:"cpus"`
	MemoryMB     uint64        `toml:"memory_mb"`
	DiskGB       uint64        `toml:"disk_gb"`
	Kernel       string        `toml:"kernel,omitempty"`
	Cmdline      string        `toml:"cmdline,omitempty"`
	CreatedAt    time.Time     `toml:"created_at"`
	BlockDevices []blockDevice `toml:"block_devices,omitempty"`
}

type blockDevice struct {
	Path     string `toml:"path"`
	ReadOnly bool   `toml:"read_only"`
	Discard  bool   `toml:"discard"`
}

func recordOf(m domain.Machine) record {
	r := record{
		Name: string(m.Name), CPUs: m.CPUs, MemoryMB: uint64(m.Memory), DiskGB: uint64(m.Disk),
		Kernel: m.Kernel, Cmdline: m.Cmdline, CreatedAt: m.CreatedAt.UTC(),
	}
	for _, d := range m.Disks {
		r.BlockDevices = append(r.BlockDevices, blockDevice(d))
	}
	return r
}

func (r record) machine() (domain.Machine, error) {
	m := domain.Machine{
		Name: domain.MachineName(r.Name), CPUs: r.CPUs, Memory: domain.MiB(r.MemoryMB), Disk: domain.GiB(r.DiskGB),
		Kernel: r.Kernel, Cmdline: r.Cmdline, CreatedAt: r.CreatedAt,
	}
	for _, d := range r.BlockDevices {
		m.Disks = append(m.Disks, domain.Disk(d))
	}
	if err := m.Validate(); err != nil {
		return domain.Machine{}, fmt.Errorf("not a valid machine: %w", err)
	}
	return m, nil
}
