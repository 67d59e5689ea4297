//go:build !linux

package hostwatch

import (
	"fmt"
	"runtime"

	"arcbox/application/port"
	"arcbox/domain"
)

// Open implements port.TreeWatcher: it is domain.ErrUnsupported.
func (w *Watcher) Open(func([]domain.PathChange), func(error)) (port.TreeWatch, error) {
	return nil, domain.WithHint(fmt.Errorf("watch directories on %s: %w", runtime.GOOS, domain.ErrUnsupported),
		"let the program in the container poll for changes, with CHOKIDAR_USEPOLLING=1 for instance")
}
