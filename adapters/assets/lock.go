package assets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"arcbox/adapters/internal/hostfile"
	"arcbox/domain"
)

const (
	lockPoll = 50 * time.Millisecond
	lockFile = "lock" // in downloadDir
)

// downloadDir holds the lock and the unfinished downloads. It is beside the
// targets' file system, so that finished ones can be renamed.
func (c *Cache) downloadDir() string { return filepath.Join(c.bootDir(), ".download") }

// lock keeps other processes, and other users of the cache in this one, away
// from the files. The system releases it when its holder dies; the file itself
// is never deleted, since a deleted one could be locked twice.
func (c *Cache) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(c.downloadDir(), 0o755); err != nil {
		return nil, hostfile.Fault(err)
	}
	l := flock.New(filepath.Join(c.downloadDir(), lockFile))
	got, err := l.TryLock()
	if err == nil && !got {
		c.log.Info("another process works on the assets, waiting for it")
		_, err = l.TryLockContext(ctx, lockPoll)
	}
	if err != nil {
		l.Close()
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("waiting for another process that works on the assets: %w", cause)
		}
		return nil, fmt.Errorf("locking the assets: %w: %w", domain.ErrUnavailable, err)
	}
	return func() { l.Close() }, nil
}
