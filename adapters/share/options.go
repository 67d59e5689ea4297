package share

import (
	"log/slog"
	"time"
)

// Options say how directories are shared.
type Options struct {
	// DataDir is a directory that no guest sees, wherever a share leads to it. None
	// when it is empty.
	DataDir string
	// Cache is what guests may keep.
	Cache Cache
	Log   *slog.Logger
}

// Cache says what a guest may keep of the host's files without asking. The zero
// value has it ask for everything but data that it has just read.
type Cache struct {
	// Directories is for how long a name that was found leads to the same directory;
	// names of files are asked for each time. Attributes is for how long size, times
	// and mode are the same after that.
	Directories, Attributes time.Duration
	// Missing is for how long a name that was not found stays so.
	Missing time.Duration
	// KeepData lets data outlive the closing of a file that is the same when it is
	// opened again.
	KeepData bool
	// WriteBack lets the guest keep what it writes until it wants to, or is told
	// to write it. Then it trusts its own sizes and times more than the host's.
	WriteBack bool
}

// DefaultCache has the guest ask for a file whenever it is named: what the host
// changed is seen by whoever looks then. Parts of the way to it, and what was
// learned of a file, hold for 10 ms, so that one operation is not many requests.
func DefaultCache() Cache {
	const short = 10 * time.Millisecond
	return Cache{Directories: short, Attributes: short, KeepData: true}
}
