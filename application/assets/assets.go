// Package assets makes the files that a guest boots from available: manifest,
// kernel, root file system, runtime binaries and agent, each pinned by its
// checksum on every path.
package assets

import (
	"context"
	"fmt"
	"log/slog"

	"arcbox/application/port"
	"arcbox/domain"
)

// Inspector looks at installed files without reading them.
type Inspector interface {
	// Inspect says where an asset belongs and what is there. A file that does
	// not exist is no error.
	Inspect(ctx context.Context, version string, a domain.Asset) (path string, f domain.FileFacts, err error)
	// InspectPath does so for a path that the user gave.
	InspectPath(ctx context.Context, path string) (domain.FileFacts, error)
}

// Options says which set is wanted.
type Options struct {
	// Version and ManifestSHA256 are the pin that this build carries. Without a
	// version the source's own is taken; without a checksum the source is
	// trusted with the manifest, and asked for it again in every process.
	Version        string
	ManifestSHA256 string
	// OverrideVersion is the user's wish for another version. The pin says
	// nothing about it, so it is unpinned.
	OverrideVersion string
	Arch            domain.Arch
	// CustomKernel is a host path that replaces the set's kernel.
	CustomKernel string
	// Kubernetes adds its binary to those that must be there to boot.
	Kubernetes bool
	// Progress, when set, hears of every step of Resolve. It must not block.
	Progress func(domain.AssetProgress)
}

// Service is the use-case. It is safe for concurrent use: one caller at a time
// works on the files, others wait or leave with their context.
type Service struct {
	opts    Options
	pin     string // lower-case hex, "" when unpinned
	version string // wanted, "" for the source's own
	source  port.AssetSource
	cache   port.AssetCache
	files   Inspector
	log     *slog.Logger

	turn chan struct{} // holds the right to work; guards what follows
	// current is the manifest that this process settled on.
	current *domain.Manifest
}

var _ port.BootAssets = (*Service)(nil)

// New returns the use-case. It touches neither disk nor network, and returns
// ErrInvalid for options that contradict themselves.
func New(opts Options, source port.AssetSource, cache port.AssetCache, files Inspector, log *slog.Logger) (*Service, error) {
	s := &Service{
		opts: opts, version: opts.Version, source: source, cache: cache, files: files, log: log,
		turn: make(chan struct{}, 1),
	}
	if opts.Arch == "" {
		return nil, fmt.Errorf("assets without an architecture: %w", domain.ErrInvalid)
	}
	if opts.ManifestSHA256 != "" {
		pin, err := domain.ParseSHA256(opts.ManifestSHA256)
		if err != nil {
			return nil, fmt.Errorf("pin of the asset manifest: %w", err)
		}
		s.pin = pin
	}
	if v := opts.OverrideVersion; v != "" && v != opts.Version {
		s.version, s.pin = v, ""
		log.Warn("asset version overridden: its manifest is not pinned", "version", v, "built_for", opts.Version)
	}
	if s.version != "" {
		if err := domain.CheckAssetVersion(s.version); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Resolve returns the verified set, after fetching what is missing or not what
// the manifest pins and after checking that everything that blocks a boot is
// usable. When all is there it needs no network, except that an unpinned
// manifest is looked up once per process, and the cached one taken if it
// cannot be.
func (s *Service) Resolve(ctx context.Context) (domain.BootAssets, error) {
	done, err := s.take(ctx)
	if err != nil {
		return domain.BootAssets{}, err
	}
	defer done()
	return s.resolve(ctx, false, s.opts.Progress)
}

// Prefetch does what Resolve does ahead of time, and reports to progress, which
// may be nil. With force the manifest is fetched anew, the version's files are
// removed, and everything is fetched or read again.
func (s *Service) Prefetch(ctx context.Context, force bool, progress func(domain.AssetProgress)) (domain.BootAssets, error) {
	done, err := s.take(ctx)
	if err != nil {
		return domain.BootAssets{}, err
	}
	defer done()
	return s.resolve(ctx, force, progress)
}

func (s *Service) take(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another use of the assets: %w", context.Cause(ctx))
	}
}

func (s *Service) resolve(ctx context.Context, force bool, progress func(domain.AssetProgress)) (domain.BootAssets, error) {
	m, fresh, err := s.manifest(ctx, force)
	if err != nil {
		return domain.BootAssets{}, err
	}
	out := domain.BootAssets{Version: m.AssetVersion, Kernel: s.opts.CustomKernel, Cmdline: m.Cmdline(s.opts.Arch)}
	wanted, err := s.wanted(ctx, m)
	if err != nil {
		return domain.BootAssets{}, err
	}
	for i, a := range wanted {
		report := func(p domain.AssetProgress) {
			if progress != nil {
				p.Current, p.Total = i+1, len(wanted)
				progress(p)
			}
		}
		path, err := s.cache.Ensure(ctx, m.AssetVersion, a, s.source, report)
		if err != nil {
			return domain.BootAssets{}, s.unobtainable(ctx, m.AssetVersion, a, err)
		}
		switch a.Kind {
		case domain.AssetKernel:
			out.Kernel = path
		case domain.AssetRootfs:
			out.Rootfs = path
		}
	}
	if err := s.checkBoot(ctx); err != nil {
		return domain.BootAssets{}, err
	}
	s.current = &m
	if fresh {
		s.collect(ctx, m.AssetVersion)
	}
	return out, nil
}

// unobtainable says which file is missing, where it belongs, and what mends it.
func (s *Service) unobtainable(ctx context.Context, version string, a domain.Asset, err error) error {
	where := ""
	if path, _, failed := s.files.Inspect(ctx, version, a); failed == nil {
		where = ", which belongs at " + path
	}
	err = fmt.Errorf("%s of asset set %s%s: %w", a.Name, version, where, err)
	if domain.Hint(err) == "" && ctx.Err() == nil {
		err = domain.WithHint(err, "check that "+s.source.Describe()+" has it, then run `arcbox boot prefetch`")
	}
	return err
}

// wanted lists the assets to have. A kernel of the user's own replaces the
// set's, which is then not fetched.
func (s *Service) wanted(ctx context.Context, m domain.Manifest) ([]domain.Asset, error) {
	all, err := m.Assets(s.opts.Arch)
	if err != nil {
		return nil, err
	}
	if s.opts.CustomKernel == "" {
		return all, nil
	}
	f, err := s.files.InspectPath(ctx, s.opts.CustomKernel)
	if err != nil {
		return nil, fmt.Errorf("custom kernel %q: %w", s.opts.CustomKernel, err)
	}
	if !f.Exists || !f.Regular {
		err := fmt.Errorf("custom kernel %q is not a regular file: %w", s.opts.CustomKernel, domain.ErrNotFound)
		return nil, domain.WithHint(err, "correct vm.kernel_path, or leave it out to use the asset set's kernel")
	}
	return all[1:], nil // the kernel is the first
}
