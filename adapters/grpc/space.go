package grpc

import (
	"context"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

// Prune implements the method of that name.
func (s *SystemService) Prune(ctx context.Context, req *arcboxv1.PruneRequest) (*arcboxv1.PruneResponse, error) {
	r, err := s.pruning.Prune(ctx, domain.PruneOptions{All: req.All, Volumes: req.Volumes})
	if err != nil {
		return nil, err
	}
	return &arcboxv1.PruneResponse{Containers: r.Containers, Networks: r.Networks, Volumes: r.Volumes, Images: r.Images,
		BuildCache: r.BuildCache, BootFiles: r.BootFiles, ReclaimedBytes: r.Reclaimed, HostBytes: r.Host}, nil
}

// diskUsage is nil while nothing is known of the data disk.
func diskUsage(v domain.VMStatus) *arcboxv1.DiskUsage {
	d, i := v.Guest.Disk, v.Image
	if !d.Known() && i == (domain.DiskImage{}) {
		return nil
	}
	return &arcboxv1.DiskUsage{TotalBytes: d.Total, FreeBytes: d.Free, TotalInodes: d.Inodes, FreeInodes: d.FreeInodes,
		AllocatedBytes: i.Allocated, ImageBytes: i.Size, WantedGib: uint64(i.Wanted), Problems: v.DiskProblems()}
}
