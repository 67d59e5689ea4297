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
	// Entries is for how long a name that was found leads to the same file,
	// Attributes for how long size, times and mode are the same.
	Entries, Attributes time.Duration
	// Missing is for how long a name that was not found stays so.
	Missing time.Duration
	// KeepData lets data outlive the closing of a file that is the same when it is
	// opened again.
	KeepData bool
	// WriteBack lets the guest keep what it writes until it wants to, or is told
	// to write it. Then it trusts its own sizes and times more than the host's.
	WriteBack bool
}

// DefaultCache has the guest ask again after 10 ms: a change on the host is seen
// before anybody can look, but the many requests that one operation on a deep path
// makes are one. Reading in small pieces and looking at many files is several
// times as fast as with no time at all, and not much slower than with a second.
func DefaultCache() Cache {
	const short = 10 * time.Millisecond
	return Cache{Entries: short, Attributes: short, Missing: short, KeepData: true}
}
