package netfwd

import (
	"os"
	"sync"
	"time"
)

// watchedFile holds what a small file of the host says, and reads it again
// when it has changed. A file that cannot be read is an empty one.
type watchedFile[T any] struct {
	path  string
	parse func(text string) T

	mu    sync.Mutex
	known bool
	stamp fileStamp
	value T
}

// fileStamp tells two states of a file apart.
type fileStamp struct {
	modified time.Time
	size     int64
}

// maxWatched bounds what is read, bytes; a larger file counts as empty. Lists
// of blocked hosts of a few megabytes exist.
const maxWatched = 16 << 20

func (f *watchedFile[T]) get() T {
	var now fileStamp
	if info, err := os.Stat(f.path); err == nil {
		now = fileStamp{info.ModTime(), info.Size()}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known || now != f.stamp {
		var text []byte
		if now.size <= maxWatched {
			text, _ = os.ReadFile(f.path)
		}
		f.value, f.stamp, f.known = f.parse(string(text)), now, true
	}
	return f.value
}
