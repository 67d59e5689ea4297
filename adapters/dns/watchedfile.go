package dns

import (
	"maps"
	"os"
	"path/filepath"
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

// watchedDir holds the routes of a directory like /etc/resolver, and reads it
// again when something in it has changed. One that cannot be read has none.
type watchedDir struct {
	path string

	mu     sync.Mutex
	stamps map[string]fileStamp
	routes []route
}

// Bounds of such a directory.
const (
	maxRoutes    = 1024
	maxRouteFile = 64 << 10 // bytes
)

// get returns the routes in the order of their files' names.
func (d *watchedDir) get() []route {
	if d.path == "" {
		return nil
	}
	entries, _ := os.ReadDir(d.path)
	entries = entries[:min(len(entries), maxRoutes)]
	stamps := make(map[string]fileStamp, len(entries))
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(d.path, e.Name())) // follows links, which are common there
		if err == nil && info.Mode().IsRegular() && info.Size() <= maxRouteFile {
			stamps[e.Name()] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if maps.Equal(stamps, d.stamps) {
		return d.routes
	}
	d.stamps, d.routes = stamps, nil
	for _, e := range entries {
		if _, ok := stamps[e.Name()]; !ok {
			continue
		}
		text, _ := os.ReadFile(filepath.Join(d.path, e.Name()))
		if r, ok := parseResolverFile(e.Name(), string(text)); ok {
			d.routes = append(d.routes, r)
		}
	}
	return d.routes
}
