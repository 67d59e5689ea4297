package assets

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"arcbox/domain"
)

// removeUnwanted deletes unfinished downloads, except those that a cached
// version still pins: they are gone on with. What cannot be deleted stays for
// the next time. It must be called with the lock held, so that nobody writes to
// one.
func (c *Cache) removeUnwanted(ctx context.Context) {
	entries, err := os.ReadDir(c.downloadDir())
	if err != nil {
		c.log.Warn("unfinished downloads are not removed", "error", err)
		return
	}
	wanted := c.pins(ctx)
	for _, e := range entries {
		name := e.Name()
		sum, ext, _ := strings.Cut(name, ".")
		if name == lockFile || wanted[sum] && ("."+ext == partExt || "."+ext == partInfoExt) {
			continue
		}
		if err := os.Remove(filepath.Join(c.downloadDir(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("an unfinished download is not removed", "name", name, "error", err)
		}
	}
}

// pins returns the checksums of the cached versions, of every architecture. A
// manifest that this version of ArcBox cannot read pins nothing: what is lost by
// that is fetched again.
func (c *Cache) pins(ctx context.Context) map[string]bool {
	sums := map[string]bool{}
	versions, err := c.Versions(ctx)
	if err != nil {
		c.log.Warn("cached versions are not known", "error", err)
	}
	for _, v := range versions {
		data, err := c.Manifest(ctx, v)
		if err != nil {
			continue
		}
		m, err := domain.ParseManifest(data)
		if err != nil {
			continue
		}
		for _, t := range m.Targets {
			sums[t.Kernel.SHA256], sums[t.Rootfs.SHA256] = true, true
		}
		for _, b := range m.Binaries {
			for _, t := range b.Targets {
				sums[t.SHA256] = true
			}
		}
	}
	return sums
}
