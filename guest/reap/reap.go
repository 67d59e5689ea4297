//go:build linux

// Package reap starts child processes and waits for them in a process that
// also inherits the orphans of others, as process 1 does. A plain wait for any
// child would steal the exit status of the children that somebody waits for.
package reap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Children knows which children have an owner that waits for them.
type Children struct {
	// mu is held for reading while a child starts, so that the reaper cannot
	// meet a child that has ended before it was entered in owned.
	mu    sync.RWMutex
	owned sync.Map // pid -> struct{}
	again chan struct{}
}

// New returns an empty set.
func New() *Children {
	return &Children{again: make(chan struct{}, 1)}
}

// Start starts cmd. The caller must call wait, once; it is cmd.Wait.
func (c *Children) Start(cmd *exec.Cmd) (wait func() error, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	c.owned.Store(pid, struct{}{})
	return func() error {
		err := cmd.Wait()
		c.owned.Delete(pid)
		select { // its number may be an orphan's by now
		case c.again <- struct{}{}:
		default:
		}
		return err
	}, nil
}

// Run starts cmd and waits for it.
func (c *Children) Run(cmd *exec.Cmd) error {
	wait, err := c.Start(cmd)
	if err != nil {
		return err
	}
	return wait()
}

// Reap reaps orphans until ctx ends. Only one call may run in a process.
func (c *Children) Reap(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		retry := c.sweep()
		var soon <-chan time.Time
		if retry {
			soon = time.After(10 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return
		case <-died:
		case <-c.again:
		case <-soon:
		}
	}
}

// sweep reaps what has no owner. It reports that it met a child whose owner
// has not waited yet, behind which others may be hidden.
func (c *Children) sweep() (retry bool) {
	for {
		c.mu.Lock()
		pid, err := peek()
		if err != nil || pid == 0 {
			c.mu.Unlock()
			return false
		}
		if _, owned := c.owned.Load(pid); owned {
			c.mu.Unlock()
			return true
		}
		var status unix.WaitStatus
		_, err = unix.Wait4(pid, &status, unix.WNOHANG, nil)
		c.mu.Unlock()
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// peek returns a child that has ended, without reaping it, or 0.
func peek() (int, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return 0, fmt.Errorf("look for ended children: %w", err)
	}
	return siginfoPID(&info), nil
}
