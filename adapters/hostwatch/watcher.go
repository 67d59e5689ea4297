package hostwatch

import (
	"log/slog"
	"time"

	"arcbox/application/port"
)

// DefaultLimit is how many directories are watched where nothing is set. The
// kernel takes about 1 KiB for each.
const DefaultLimit = 65536

// Changes are told when none came for quiet, and in any case longest after the
// first one.
const (
	quiet   = 20 * time.Millisecond
	longest = 200 * time.Millisecond
)

// retryAfter is the pause before more directories are tried to be watched when
// it could not be all.
const retryAfter = 30 * time.Second

// Options is how a Watcher behaves.
type Options struct {
	// Limit bounds the watched directories of one TreeWatch; 0 is DefaultLimit.
	Limit int
	// Guest, when it is not nil, knows which changes are not to be told.
	Guest port.GuestWrites
	// Hidden are directories, by clean absolute paths, that guests do not see:
	// nothing is told of them and what is in them, and they are not watched. Data
	// disks change all the time.
	Hidden []string
	Log    *slog.Logger
}

// Watcher implements port.TreeWatcher.
type Watcher struct {
	options Options
}

var _ port.TreeWatcher = (*Watcher)(nil)

// New returns a watcher that takes nothing until Open.
func New(o Options) *Watcher {
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	return &Watcher{options: o}
}
