//go:build linux

// Package touch makes programs of the guest that watch files of shares see what
// has changed on the host: the kernel tells them only of what it does itself. So
// it is made to do something that has no effect: a file's time is set to what it
// is, and what is gone is removed. The requests have a user id by which the host
// knows not to act on them.
package touch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"arcbox/domain"
)

// patience is how long the end of a Toucher waits for a system call that waits
// for the host. Nothing but the end of the process can end it.
const patience = time.Second

// Tree is a share.
type Tree struct {
	Path string // of the share
	// Dir is a way to the same directory that leads over nothing that others can
	// change.
	Dir string
}

// Identity becomes the user whose requests change nothing, for the calling
// thread.
type Identity func() error

// Toucher has one thread with the identity of TouchUID.
type Toucher struct {
	become Identity
	trees  func() []Tree
	log    *slog.Logger
	work   chan batch
	ended  chan struct{}
}

type batch struct {
	ctx     context.Context
	changes []domain.PathChange
	done    chan<- error
}

// New returns a toucher of what lies in the trees, which are asked for anew for
// each call. In a guest, become is Nobody.
func New(become Identity, trees func() []Tree, log *slog.Logger) *Toucher {
	return &Toucher{become: become, trees: trees, log: log, work: make(chan batch), ended: make(chan struct{})}
}

// Run serves Touch until ctx ends. It is called once.
func (t *Toucher) Run(ctx context.Context) {
	defer close(t.ended)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// Never unlocked: the thread ends with the goroutine, nobody else gets it.
		runtime.LockOSThread()
		t.serve(ctx, t.become())
	}()
	<-ctx.Done()
	select {
	case <-gone:
	case <-time.After(patience):
		t.log.Warn("the host does not answer a request for a file; not waiting any longer")
	}
}

// serve answers all with err when it has not the identity.
func (t *Toucher) serve(ctx context.Context, err error) {
	if err != nil {
		t.log.Error("watchers in the guest do not see what changes on the host", "error", err)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-t.work:
			if err != nil {
				b.done <- err
				continue
			}
			b.done <- touchAll(b.ctx, t.trees(), b.changes)
		}
	}
}

// Touch makes the watchers see the changes, in their order. Paths that are in
// no share, or lead out of it, are left out, and so are those that have changed
// again by now. It returns when that is done or ctx ends; the error is
// domain.ErrUnavailable when the toucher has ended.
func (t *Toucher) Touch(ctx context.Context, changes []domain.PathChange) error {
	done := make(chan error, 1)
	select {
	case t.work <- batch{ctx, changes, done}:
	case <-t.ended:
		return domain.ErrShuttingDown
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-t.ended:
		return domain.ErrShuttingDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shown is how many errors of one call are worth reading.
const shown = 3

func touchAll(ctx context.Context, trees []Tree, changes []domain.PathChange) error {
	var problems []error
	failed := 0
	var at place
	defer at.close()
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		tree, ok := treeOf(trees, c.Path)
		if !ok {
			continue
		}
		if err := at.touch(tree, c); err != nil {
			if failed++; failed <= shown {
				problems = append(problems, err)
			}
		}
	}
	if failed > shown {
		problems = append(problems, fmt.Errorf("and %d others", failed-shown))
	}
	return errors.Join(problems...)
}

// treeOf returns the innermost tree that p lies in.
func treeOf(trees []Tree, p string) (in Tree, ok bool) {
	for _, t := range trees {
		if domain.Within(p, t.Path) && len(t.Path) > len(in.Path) {
			in = t
		}
	}
	return in, in.Path != ""
}
