package containers

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// watchRun is the watches of one run of a machine.
type watchRun struct {
	watches *Watches
	machine domain.MachineName
	guest   port.Toucher
	log     *slog.Logger
	wake    chan struct{} // the containers are others

	mu    sync.Mutex
	known domain.Containers
}

// learn takes in news of the engine's containers.
func (r *watchRun) learn(c domain.ContainerChange) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.known.Apply(c)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run watches until ctx ends, and returns when nothing is watched any more.
func (r *watchRun) run(ctx context.Context) {
	var watch port.TreeWatch
	defer func() {
		if watch == nil {
			return
		}
		if err := watch.Close(); err != nil {
			r.log.Debug("end the watch of the host's files", "error", err)
		}
	}()
	var now []string
	refused := false
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		binds := r.known.Binds()
		r.mu.Unlock()
		trees, ok := r.look(ctx, binds)
		if !ok {
			return
		}
		if slices.Equal(trees, now) {
			continue
		}
		if watch == nil {
			w, err := r.open(ctx)
			if err != nil {
				if !refused {
					r.watches.tell(r.log, r.machine, err)
				}
				refused = true // until it changes, with every container
				continue
			}
			watch = w
		}
		r.log.Debug("watch for changes on the host", "trees", len(trees))
		watch.SetTrees(trees)
		now = trees
	}
}

// lookPatience is how long the end of a run waits for the host's file systems.
const lookPatience = 2 * time.Second

// look is wanted, until ctx ends: a file system whose server is gone does not
// answer, and is left to do so.
func (r *watchRun) look(ctx context.Context, binds []string) (trees []string, ok bool) {
	answer := make(chan []string, 1)
	go func() { answer <- r.watches.wanted(binds) }()
	select {
	case trees = <-answer:
		return trees, true
	case <-ctx.Done():
	}
	t := time.NewTimer(lookPatience)
	defer t.Stop()
	select {
	case <-answer:
	case <-t.C:
		r.log.Warn("a bind of a container is on a file system that does not answer; not waiting any longer")
	}
	return nil, false
}

// open opens a watch whose changes are told to the guest until ctx ends.
func (r *watchRun) open(ctx context.Context) (port.TreeWatch, error) {
	lost := false // the last attempt failed
	changed := func(changes []domain.PathChange) {
		err := r.touch(ctx, named(changes))
		switch {
		case ctx.Err() != nil:
		case err == nil:
			lost = false
		case !lost:
			lost = true
			r.log.Warn("changes on the host did not wake all watchers in containers", "error", err)
		default:
			r.log.Debug("changes on the host did not wake all watchers in containers", "error", err)
		}
	}
	limited := func(err error) {
		if ctx.Err() == nil {
			r.watches.tell(r.log, r.machine, err)
		}
	}
	return r.watches.trees.Open(changed, limited)
}

// touch tells the guest. What it does not take in time is not told again: its
// watchers miss a change, and nothing else does. A part that fails does not keep
// the next one from being told.
func (r *watchRun) touch(ctx context.Context, changes []domain.PathChange) error {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	var first error
	for part := range slices.Chunk(changes, maxTouch) {
		if err := r.guest.Touch(ctx, part); err != nil && first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}
