package port

import (
	"context"

	"arcbox/domain"
)

// Pruner removes what an engine does not use.
type Pruner interface {
	// Prune removes what docker system prune does. What was removed before an
	// error is in the result.
	Prune(ctx context.Context, e Engine, o domain.PruneOptions) (domain.PruneResult, error)
}

// OldAssets removes what the host keeps of earlier boot assets.
type OldAssets interface {
	// RemoveOld removes the cached versions that are not the current one, and
	// returns the paths and bytes that went.
	RemoveOld(ctx context.Context) (paths []string, bytes uint64, err error)
}

// DiskImages looks at disk images on the host.
type DiskImages interface {
	// Image returns the size of the image at path and what it takes of the
	// host's disk; zeros when it is not there.
	Image(path string) (domain.DiskImage, error)
}

// Trimmer is implemented by agent sessions whose guest can give unused blocks
// of its data disk back to the host.
type Trimmer interface {
	// Trim returns when that is done, with how many bytes were given back; most
	// of them may have been the host's before.
	Trim(ctx context.Context) (uint64, error)
}

// Pruning is a driving port, implemented by application/system.
type Pruning interface {
	// Prune removes what is not used, boots the machine for that when it is down,
	// and gives the space back to the host. What was removed before an error is
	// in the result.
	Prune(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error)
}
