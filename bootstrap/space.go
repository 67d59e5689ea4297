package bootstrap

import (
	"arcbox/adapters/docker"
	appassets "arcbox/application/assets"
	"arcbox/application/port"
	"arcbox/application/system"
)

// newSpace is what is looked at, and removed, when space is short.
func newSpace(c Config, images port.DiskImages, a *appassets.Service) system.Space {
	o := lifecycleOptions(c)
	return system.Space{Images: images, Pruner: docker.Pruner{}, OldAssets: a, DataDisk: o.DataDisk, DiskSize: o.Disk}
}
