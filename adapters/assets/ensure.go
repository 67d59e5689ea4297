package assets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"arcbox/adapters/internal/hostfile"
	"arcbox/application/port"
	"arcbox/domain"
)

// reporter sends progress of one asset, bytes not more often than somebody
// could look.
type reporter struct {
	name string
	send func(domain.AssetProgress)
	last time.Time
}

func (r *reporter) step(p domain.AssetPhase) { r.emit(p, 0, -1) }

func (r *reporter) bytes(done, size int64) {
	if time.Since(r.last) < 100*time.Millisecond && done != size {
		return
	}
	r.last = time.Now()
	r.emit(domain.AssetDownloading, done, size)
}

func (r *reporter) emit(p domain.AssetPhase, done, size int64) {
	if r.send != nil {
		r.send(domain.AssetProgress{Phase: p, Name: r.name, Done: done, TotalSize: size})
	}
}

// Ensure implements port.AssetCache. A file that is there with other content is
// replaced in one step, and stays until then. A download that broke off, even
// with its process, is gone on with.
func (c *Cache) Ensure(ctx context.Context, version string, a domain.Asset, src port.AssetSource, progress func(domain.AssetProgress)) (string, error) {
	path, err := c.target(version, a)
	if err != nil {
		return "", err
	}
	pin, err := domain.ParseSHA256(a.SHA256)
	if err != nil {
		return "", fmt.Errorf("asset %q: %w", a.Name, err)
	}
	a.SHA256 = pin
	report := &reporter{name: a.Name, send: progress}
	report.step(domain.AssetChecking)
	if c.known(path, a) {
		report.step(domain.AssetCached)
		return path, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	ok := c.known(path, a) // another process may have been faster
	if !ok {
		if ok, err = c.verify(ctx, path, a, report); err != nil {
			return "", err
		}
	}
	if ok {
		report.step(domain.AssetCached)
		return path, nil
	}
	if err := c.download(ctx, path, a, src, report); err != nil {
		return "", err
	}
	report.step(domain.AssetReady)
	return path, nil
}

func modeOf(a domain.Asset) os.FileMode {
	if a.Kind == domain.AssetBinary {
		return 0o755
	}
	return 0o644
}

// known says whether the file is unchanged since it was found to be the pinned one.
func (c *Cache) known(path string, a domain.Asset) bool {
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm() != modeOf(a) {
		return false
	}
	return c.loadVerified()[c.key(path)] == recordOf(fi, a.SHA256)
}

// verify reads a file that nothing is known of, and remembers it if it is the
// pinned one. It must be called with the lock held.
func (c *Cache) verify(ctx context.Context, path string, a domain.Asset, report *reporter) (bool, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fileError(err)
	case fi.IsDir():
		err := fmt.Errorf("%s is a directory, not a regular file: %w", path, domain.ErrInvalidState)
		return false, domain.WithHint(err, "remove it, then run `arcbox boot prefetch`")
	case !fi.Mode().IsRegular():
		return false, nil // the download takes its place
	}
	report.step(domain.AssetVerifying)
	sum, err := hostfile.SHA256(ctx, path)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", path, fileError(err))
	}
	if sum != a.SHA256 {
		c.log.Info("an asset differs from what the manifest pins, replacing it", "path", path)
		return false, nil
	}
	if fi.Mode().Perm() != modeOf(a) {
		if err := os.Chmod(path, modeOf(a)); err != nil {
			return false, fileError(err)
		}
	}
	// fi is from before the reading: a file that was written to meanwhile is
	// not taken for known.
	return true, c.updateVerified(func(v verified) { v[c.key(path)] = recordOf(fi, sum) })
}
