package port

import (
	"context"
	"os"

	"arcbox/domain"
)

// Shares makes the host side of a machine's shared directories.
type Shares interface {
	// Open serves the shares to one run of the machine. The caller owns the link
	// and closes it when the machine is down. A share that is no directory is
	// domain.ErrInvalid.
	Open(name domain.MachineName, shares []domain.Share) (ShareLink, error)
}

// ShareLink is one machine's wire to its shared directories.
type ShareLink interface {
	// File stands for a listening socket (it is opened with O_PATH), where the
	// hypervisor connects to /proc/self/fd/N for a file system over vhost-user
	// with the tag domain.ShareTag. The link keeps ownership.
	File() *os.File
	// Close ends every request and returns when nothing of the link runs.
	Close() error
}

// HostPaths looks at the host's file system.
type HostPaths interface {
	// Inspect says what an absolute path leads to. A path that cannot be followed,
	// because a directory may not be searched or links make a loop, is an error;
	// one that does not exist is not.
	Inspect(path string) (domain.HostPath, error)
}

// TreeWatcher follows changes below directories of the host.
type TreeWatcher interface {
	// Open begins with no directory. Until Close, changed is called with what
	// changed, one call at a time, and limited when what is watched begins or
	// ends to be incomplete: the reason, or nil.
	Open(changed func([]domain.PathChange), limited func(error)) (TreeWatch, error)
}

// TreeWatch is one set of watched directories.
type TreeWatch interface {
	// SetTrees replaces the watched directories, which are absolute; a file is
	// watched alone. It does not wait until everything below is watched.
	SetTrees(paths []string)
	// Close ends all calls of the functions and returns when none runs.
	Close() error
}

// GuestWrites knows what a guest itself has just changed in its shares. A
// TreeWatcher sees these changes like all others, but the guest's watchers saw
// them when they were made: a second time would have programs that watch what
// they write build without end.
type GuestWrites interface {
	// Wrote says whether the newest change of a path is the guest's: it created,
	// changed, moved or removed it a moment ago, and the host did not since. It is
	// asked for each event of the host, when that is read, and must be quick.
	Wrote(path string) bool
}

// Toucher is implemented by sessions with agents that tell the guest's watchers
// of changes on the host.
type Toucher interface {
	// Touch makes the watchers of the paths in the guest see the changes.
	Touch(ctx context.Context, changes []domain.PathChange) error
}
