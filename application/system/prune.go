package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// pruneLimit bounds a whole prune: an emulated engine with many images is slow.
const pruneLimit = 30 * time.Minute

// Space is what removing what is not used works with.
type Space struct {
	Images    port.DiskImages
	Pruner    port.Pruner
	OldAssets port.OldAssets
	// DataDisk is the native machine's image, DiskSize what is configured for it.
	DataDisk string
	DiskSize domain.GiB
}

var _ port.Pruning = (*System)(nil)

// Prune implements port.Pruning. The boot files of the host are removed though
// the engine fails, and the other way round; space that cannot be given back to
// the host is only logged, since the guest has it.
func (s *System) Prune(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error) {
	ctx, cancel := context.WithTimeout(ctx, pruneLimit)
	defer cancel()
	space := s.ports.Space
	before := s.image().Allocated
	r, err := s.pruneEngine(ctx, o)
	if err == nil {
		s.trim(ctx)
	}
	if after := s.image().Allocated; after < before {
		r.Host = before - after
	}
	paths, bytes, oldErr := space.OldAssets.RemoveOld(ctx)
	r.BootFiles, r.Reclaimed = paths, r.Reclaimed+bytes
	if oldErr != nil {
		oldErr = fmt.Errorf("removing old boot files: %w", oldErr)
	}
	s.log.Info("pruned", "containers", len(r.Containers), "networks", len(r.Networks), "volumes", len(r.Volumes), "images", len(r.Images),
		"build_cache", len(r.BuildCache), "boot_files", len(r.BootFiles), "reclaimed", r.Reclaimed, "host", r.Host)
	return r, errors.Join(err, oldErr)
}

func (s *System) pruneEngine(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error) {
	defer s.ports.Engines.Hold(domain.RoleNative)()
	e, err := s.ports.Engines.EnsureReady(ctx, domain.RoleNative)
	if err != nil {
		return domain.PruneResult{}, err
	}
	return s.ports.Space.Pruner.Prune(ctx, e, o)
}

func (s *System) trim(ctx context.Context) {
	instance := s.ports.Machines[domain.RoleNative].Snapshot().Instance
	if instance == nil {
		return
	}
	t, ok := instance.Session().(port.Trimmer)
	if !ok {
		return
	}
	if _, err := t.Trim(ctx); err != nil {
		s.log.Warn("the space of what was removed is not given back to the host yet", "error", err)
	}
}

// image is the host's side of the native machine's data disk; what cannot be
// looked at is not known.
func (s *System) image() domain.DiskImage {
	space := s.ports.Space
	if space.Images == nil {
		return domain.DiskImage{}
	}
	i, err := space.Images.Image(space.DataDisk)
	if err != nil {
		s.log.Debug("image of the data disk", "error", err)
		return domain.DiskImage{}
	}
	i.Wanted = space.DiskSize
	return i
}
