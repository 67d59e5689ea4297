package port

import (
	"context"

	"arcbox/domain"
)

// MachineStore keeps machine records across restarts. Writes are atomic.
type MachineStore interface {
	// Load returns domain.ErrNotFound when there is no record, domain.ErrCorrupt
	// when there is one that cannot be read.
	Load(ctx context.Context, name domain.MachineName) (domain.Machine, error)
	Save(ctx context.Context, m domain.Machine) error
	// Delete removes the record, never a disk. Deleting what is not there is no error.
	Delete(ctx context.Context, name domain.MachineName) error
	// List returns the readable records by name, and an error that names the unreadable ones.
	List(ctx context.Context) ([]domain.Machine, error)
}

// Disks makes the disk images of machines.
type Disks interface {
	// EnsureData makes sure that a sparse raw image of at least size exists at
	// path: it is created or grown, never shrunk or formatted. A larger image
	// than wanted is kept as it is.
	EnsureData(ctx context.Context, path string, size domain.GiB) error
	// EnsureRuntime packs the guest's runtime binaries and agent into a read-only image and
	// returns its path. It packs only when the content changed.
	EnsureRuntime(ctx context.Context) (string, error)
}
