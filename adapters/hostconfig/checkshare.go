package hostconfig

import (
	"context"
	"fmt"
	"os"
	"time"

	"arcbox/domain"
)

// shareLimit is how long a share's file system may take to say what is there: one
// whose server is gone never does, and whoever asks it cannot be stopped.
const shareLimit = 10 * time.Second

// shareCheck is one look at a share. err is there when done is closed.
type shareCheck struct {
	done chan struct{}
	err  error
}

// checkShare waits for a look at a share. One that does not end is left to end by
// itself, and the next caller waits for the same one.
func (s *Source) checkShare(ctx context.Context, path string) error {
	return s.check(ctx, path, shareLimit, func() error { return checkShare(path) })
}

func (s *Source) check(ctx context.Context, path string, limit time.Duration, look func() error) error {
	s.mu.Lock()
	c := s.asked[path]
	if c == nil {
		c = &shareCheck{done: make(chan struct{})}
		s.asked[path] = c
		go func() {
			c.err = look()
			s.mu.Lock()
			delete(s.asked, path)
			s.mu.Unlock()
			close(c.done)
		}()
	}
	s.mu.Unlock()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.done:
		return c.err
	case <-t.C:
	case <-ctx.Done():
		if ctx.Err() == context.Canceled {
			return fmt.Errorf("reading the host's configuration: %w", ctx.Err())
		}
	}
	return domain.WithHint(fmt.Errorf("vm.mounts: the file system of %s does not answer: %w", path, domain.ErrTimeout),
		"see whether its server or disk is there, or take "+path+" out of vm.mounts")
}

func checkShare(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		err = fmt.Errorf("vm.mounts: %w: %w", err, domain.ErrInvalid)
	case !info.IsDir():
		err = fmt.Errorf("vm.mounts: %s is no directory: %w", path, domain.ErrInvalid)
	}
	return domain.WithHint(err, "make the directory "+path+", or take it out of vm.mounts")
}
