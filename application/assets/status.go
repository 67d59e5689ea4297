package assets

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"arcbox/domain"
)

const (
	latestFile    = "/latest.json"
	latestTimeout = 10 * time.Second
	latestLimit   = 64 << 10
)

// File is one installed file of the set.
type File struct {
	Path string
	Size int64 // bytes; -1 when it is not there
}

// Status is what is known of the set without verifying or fetching it.
type Status struct {
	Version string // wanted, or the cached one when any will do; "" when unknown
	Arch    domain.Arch
	Pinned  bool
	Source  string
	// Cached says that the manifest and all its files for Arch are there. Their
	// content was not read.
	Cached         bool
	Kernel, Rootfs File
	// Manifest is the cached one, nil without.
	Manifest *domain.Manifest
	// Latest is the newest version that the source has; "" when it was not
	// asked or does not say.
	Latest          string
	UpdateAvailable bool
}

// Status describes the set. offline leaves the source alone; a source that does
// not answer is no error.
func (s *Service) Status(ctx context.Context, offline bool) (Status, error) {
	st := Status{
		Version: s.version, Arch: s.opts.Arch, Pinned: s.pin != "", Source: s.source.Describe(),
		Kernel: File{Path: s.opts.CustomKernel, Size: -1}, Rootfs: File{Size: -1},
	}
	m, have, err := s.cachedManifest(ctx)
	if err != nil {
		return Status{}, err
	}
	if have {
		st.Version, st.Manifest = m.AssetVersion, &m
		if err := s.inspect(ctx, m, &st); err != nil {
			return Status{}, err
		}
	}
	if !offline {
		st.Latest = s.latest(ctx)
		st.UpdateAvailable = st.Latest != "" && st.Latest != st.Version
	}
	return st, nil
}

func (s *Service) inspect(ctx context.Context, m domain.Manifest, st *Status) error {
	all, err := m.Assets(s.opts.Arch)
	if err != nil {
		return nil //nolint:nilerr // a set for other architectures is simply not cached for this one
	}
	st.Cached = true
	if s.opts.CustomKernel != "" {
		all = all[1:]
		f, err := s.files.InspectPath(ctx, s.opts.CustomKernel)
		if err != nil {
			return fmt.Errorf("custom kernel %q: %w", s.opts.CustomKernel, err)
		}
		st.Kernel = seen(s.opts.CustomKernel, f)
	}
	for _, a := range all {
		path, f, err := s.files.Inspect(ctx, m.AssetVersion, a)
		if err != nil {
			return fmt.Errorf("%s of asset set %s: %w", a.Name, m.AssetVersion, err)
		}
		switch a.Kind {
		case domain.AssetKernel:
			st.Kernel = seen(path, f)
		case domain.AssetRootfs:
			st.Rootfs = seen(path, f)
		}
		st.Cached = st.Cached && f.Exists && f.Regular
	}
	return nil
}

func seen(path string, f domain.FileFacts) File {
	if !f.Exists {
		return File{path, -1}
	}
	return File{path, f.Size}
}

func (s *Service) latest(ctx context.Context) string {
	data, err := s.fetchSmall(ctx, latestFile, latestLimit, latestTimeout)
	if err != nil {
		s.log.Debug("the asset source does not say what is newest", "source", s.source.Describe(), "error", err)
		return ""
	}
	var v struct {
		Version string `json:"version"`
	}
	if json.Unmarshal(data, &v) != nil || domain.CheckAssetVersion(v.Version) != nil {
		return ""
	}
	return v.Version
}

// List returns the cached versions, oldest first.
func (s *Service) List(ctx context.Context) ([]string, error) {
	all, err := s.cache.Versions(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing cached asset sets: %w", err)
	}
	return all, nil
}
