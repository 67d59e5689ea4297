package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"arcbox/adapters/internal/hostfile"
	"arcbox/application/port"
	"arcbox/domain"
)

// Cache keeps asset sets below a data directory: boot/<version> for manifest,
// kernel and root file system; runtime/bin and bin for programs. It is safe for
// concurrent use by several processes.
type Cache struct {
	data  string
	log   *slog.Logger
	delay time.Duration
}

var _ port.AssetCache = (*Cache)(nil)

// CacheOption changes a Cache.
type CacheOption func(*Cache)

// WithRetryDelay sets the first pause after a transfer broke off, default
// 500 ms; later ones grow.
func WithRetryDelay(d time.Duration) CacheOption { return func(c *Cache) { c.delay = d } }

// NewCache returns the cache below dataDir. Nothing is created before it is needed.
func NewCache(dataDir string, log *slog.Logger, opts ...CacheOption) *Cache {
	c := &Cache{data: filepath.Clean(dataDir), log: log, delay: defaultRetryDelay}
	for _, o := range opts {
		o(c)
	}
	return c
}

func (c *Cache) bootDir() string                  { return filepath.Join(c.data, "boot") }
func (c *Cache) versionDir(version string) string { return filepath.Join(c.bootDir(), version) }
func (c *Cache) manifestPath(version string) string {
	return filepath.Join(c.versionDir(version), domain.ManifestFile)
}

// Manifest implements port.AssetCache.
func (c *Cache) Manifest(_ context.Context, version string) ([]byte, error) {
	if err := domain.CheckAssetVersion(version); err != nil {
		return nil, err
	}
	f, err := os.Open(c.manifestPath(version))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifest of asset set %s: %w", version, domain.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, domain.MaxManifestSize+1)) // one more, so that parsing refuses it
}

// SaveManifest implements port.AssetCache.
func (c *Cache) SaveManifest(ctx context.Context, version string, data []byte) error {
	if err := domain.CheckAssetVersion(version); err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if old, err := os.ReadFile(c.manifestPath(version)); err == nil && slices.Equal(old, data) {
		return nil // Versions goes by when it was written
	}
	if err := os.MkdirAll(c.versionDir(version), 0o755); err != nil {
		return hostfile.Fault(err)
	}
	return writeAtomic(c.manifestPath(version), data, 0o644)
}

// Versions implements port.AssetCache: by the time of their manifest.
func (c *Cache) Versions(context.Context) ([]string, error) {
	entries, err := os.ReadDir(c.bootDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	type dated struct {
		name string
		at   time.Time
	}
	var all []dated
	for _, e := range entries {
		if !e.IsDir() || !domain.ValidAssetName(e.Name()) {
			continue
		}
		if fi, err := os.Stat(c.manifestPath(e.Name())); err == nil {
			all = append(all, dated{e.Name(), fi.ModTime()})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return a.at.Compare(b.at) }) // ReadDir sorted by name
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.name
	}
	return names, nil
}

// Remove implements port.AssetCache. What is known of the programs outside the
// version's directory is forgotten too, so that the next Ensure reads them.
// Unfinished downloads are deleted, unless the manifest of a version that stays
// pins them; their paths are not reported.
func (c *Cache) Remove(ctx context.Context, version string) ([]string, error) {
	if err := domain.CheckAssetVersion(version); err != nil {
		return nil, err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := c.versionDir(version)
	var paths []string
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	mine, boot := c.key(dir)+"/", c.key(c.bootDir())+"/"
	err = c.updateVerified(func(v verified) {
		for k := range v {
			if strings.HasPrefix(k, mine) || !strings.HasPrefix(k, boot) {
				delete(v, k)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	c.removeUnwanted(ctx)
	return paths, nil
}

// target says where an asset belongs.
func (c *Cache) target(version string, a domain.Asset) (string, error) {
	if a.Kind != domain.AssetBinary {
		if err := domain.CheckAssetVersion(version); err != nil {
			return "", err
		}
	}
	switch a.Kind {
	case domain.AssetKernel:
		return filepath.Join(c.versionDir(version), domain.KernelFile), nil
	case domain.AssetRootfs:
		return filepath.Join(c.versionDir(version), domain.RootfsFile), nil
	case domain.AssetBinary:
	default:
		return "", fmt.Errorf("asset %q of kind %q: %w", a.Name, a.Kind, domain.ErrInvalid)
	}
	dir := a.InstallDir
	if dir == "" {
		dir = domain.RuntimeBinDir
	}
	for step := range strings.SplitSeq(dir, "/") {
		if !domain.ValidAssetName(step) {
			return "", fmt.Errorf("asset %q in directory %q: %w", a.Name, a.InstallDir, domain.ErrInvalid)
		}
	}
	if !domain.ValidAssetName(a.Name) {
		return "", fmt.Errorf("asset %q: %w", a.Name, domain.ErrInvalid)
	}
	return filepath.Join(c.data, filepath.FromSlash(dir), a.Name), nil
}

// Inspect says where an asset belongs and what is there, following no link. It
// serves the use-case's Inspector.
func (c *Cache) Inspect(_ context.Context, version string, a domain.Asset) (string, domain.FileFacts, error) {
	path, err := c.target(version, a)
	if err != nil {
		return "", domain.FileFacts{}, err
	}
	f, err := facts(os.Lstat(path))
	return path, f, err
}

// InspectPath looks at a path that the user gave, following links.
func (c *Cache) InspectPath(_ context.Context, path string) (domain.FileFacts, error) {
	return facts(os.Stat(path))
}

func facts(fi os.FileInfo, err error) (domain.FileFacts, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return domain.FileFacts{}, nil
	}
	if err != nil {
		return domain.FileFacts{}, fileError(err)
	}
	return domain.FileFacts{
		Exists: true, Regular: fi.Mode().IsRegular(), Executable: fi.Mode()&0o111 != 0, Size: fi.Size(),
	}, nil
}
