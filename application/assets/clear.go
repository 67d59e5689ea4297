package assets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.OldAssets = (*Service)(nil)

// Clear removes every cached version, and returns the paths that it removed.
// Runtime binaries stay: they are replaced when their checksum differs.
func (s *Service) Clear(ctx context.Context) ([]string, error) {
	done, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	s.current = nil
	return s.remove(ctx, all)
}

// RemoveOld implements port.OldAssets: what collect keeps to go back to goes
// too. Before this process has resolved a version nothing is removed.
func (s *Service) RemoveOld(ctx context.Context) (paths []string, bytes uint64, err error) {
	done, err := s.take(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if s.current == nil {
		return nil, 0, nil
	}
	all, err := s.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	old := slices.DeleteFunc(slices.Clone(all), func(v string) bool { return v == s.current.AssetVersion })
	for _, v := range old {
		for _, kind := range []domain.AssetKind{domain.AssetKernel, domain.AssetRootfs} {
			if _, f, err := s.files.Inspect(ctx, v, domain.Asset{Kind: kind}); err == nil {
				bytes += uint64(max(0, f.Size))
			}
		}
	}
	paths, err = s.remove(ctx, old)
	return paths, bytes, err
}

func (s *Service) remove(ctx context.Context, versions []string) (paths []string, err error) {
	for _, v := range versions {
		p, rerr := s.cache.Remove(ctx, v)
		paths = append(paths, p...)
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("removing asset set %s: %w", v, rerr))
		}
	}
	return paths, err
}

// collect removes what nobody will boot again: all but the current version and
// the one before it, which is there to go back to. It never fails a boot.
func (s *Service) collect(ctx context.Context, current string) {
	all, err := s.List(ctx)
	if err != nil {
		s.log.Warn("old asset sets are not removed", "error", err)
		return
	}
	old := slices.DeleteFunc(slices.Clone(all), func(v string) bool { return v == current })
	if len(old) < 2 {
		return
	}
	paths, err := s.remove(ctx, old[:len(old)-1])
	if err != nil {
		s.log.Warn("old asset sets are not removed", "error", err)
	}
	s.log.Info("removed old asset sets", "versions", old[:len(old)-1], "files", len(paths))
}
