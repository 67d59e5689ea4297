package containers

import (
	"sync"

	"arcbox/domain"
)

// maxRef bounds what is kept of a client's name for a container.
const maxRef = 256

// start is one request under way that starts a container.
type start struct {
	role domain.Role
	ref  string
}

// Starting implements port.Starts. done may be called more than once.
func (f *Forwards) Starting(role domain.Role, container string) (done func()) {
	if len(container) > maxRef {
		container = "" // no engine has such a name: it may be any
	}
	s := &start{role, container}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts[s] = struct{}{}
	var once sync.Once
	return func() {
		once.Do(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.starts, s)
		})
	}
}

// waited says whether a client waits for a rule that run's guest asks for. f.mu
// is held.
func (f *Forwards) waited(run *forwardRun, rule domain.ForwardRule) bool {
	for s := range f.starts {
		if s.role == run.role && run.known.Waits(s.ref, rule) {
			return true
		}
	}
	return false
}
