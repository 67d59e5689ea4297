package lifecycle

import (
	"cmp"

	"arcbox/domain"
)

// WantedMachine is the machine that o describes, booted from assets: the root
// file system is the guest's vda, the data disk vdb, the runtime disk vdc.
// Creation and the check for drift both use it, so they cannot disagree.
func WantedMachine(o Options, assets domain.BootAssets, runtimeDisk string) domain.Machine {
	return domain.Machine{
		Name:    o.Machine,
		CPUs:    o.CPUs,
		Memory:  o.Memory,
		Disk:    o.Disk,
		Kernel:  cmp.Or(o.Kernel, assets.Kernel),
		Cmdline: Cmdline(cmp.Or(o.Cmdline, assets.Cmdline), o.DockerPort, o.Network),
		Disks: []domain.Disk{
			{Path: assets.Rootfs, ReadOnly: true},
			{Path: o.DataDisk, Discard: true},
			{Path: runtimeDisk, ReadOnly: true},
		},
	}
}
