package assets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"arcbox/domain"
)

const manifestTimeout = 60 * time.Second

// manifest returns the manifest to use; fresh says that this process had not
// settled on one before. With force the manifest is fetched, and only when that
// succeeded the version's files are removed.
func (s *Service) manifest(ctx context.Context, force bool) (m domain.Manifest, fresh bool, err error) {
	if s.current != nil && !force {
		return *s.current, false, nil
	}
	cached, haveCached, err := s.cachedManifest(ctx)
	if err != nil {
		return domain.Manifest{}, false, err
	}
	if haveCached && s.pin != "" && !force {
		return cached, true, nil
	}
	data, err := s.fetchManifest(ctx)
	if err == nil {
		m, err = s.accept(data)
	}
	switch {
	case err == nil:
	case haveCached && !force && unreachable(ctx, err):
		s.log.Warn("asset source unreachable, using the cached manifest", "version", cached.AssetVersion, "error", err)
		return cached, true, nil
	default:
		return domain.Manifest{}, false, err
	}
	if force {
		if _, err := s.cache.Remove(ctx, m.AssetVersion); err != nil {
			return domain.Manifest{}, false, fmt.Errorf("clearing asset set %s: %w", m.AssetVersion, err)
		}
	}
	if err := s.cache.SaveManifest(ctx, m.AssetVersion, data); err != nil {
		return domain.Manifest{}, false, fmt.Errorf("saving the manifest of asset set %s: %w", m.AssetVersion, err)
	}
	return m, true, nil
}

// unreachable tells a source that gives nothing from one that gives something
// wrong: only the former may be replaced by what is cached.
func unreachable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, domain.ErrChecksum) && !errors.Is(err, domain.ErrInvalid)
}

// cachedManifest returns the wanted version's manifest if the cache has one that
// fits the pin; without a wanted version, the newest cached one's.
func (s *Service) cachedManifest(ctx context.Context) (domain.Manifest, bool, error) {
	version := s.version
	if version == "" {
		all, err := s.cache.Versions(ctx)
		if err != nil {
			return domain.Manifest{}, false, fmt.Errorf("listing cached asset sets: %w", err)
		}
		if len(all) == 0 {
			return domain.Manifest{}, false, nil
		}
		version = all[len(all)-1]
	}
	data, err := s.cache.Manifest(ctx, version)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.Manifest{}, false, nil
	}
	if err != nil {
		return domain.Manifest{}, false, fmt.Errorf("manifest of asset set %s: %w", version, err)
	}
	m, err := s.accept(data)
	if err != nil {
		s.log.Warn("the cached asset manifest is not usable, fetching it again", "version", version, "error", err)
		return domain.Manifest{}, false, nil
	}
	return m, true, nil
}

// accept checks a manifest's bytes against the pin and the wanted version.
func (s *Service) accept(data []byte) (domain.Manifest, error) {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); s.pin != "" && got != s.pin {
		err := fmt.Errorf("asset manifest has sha256 %s, pinned is %s: %w", got, s.pin, domain.ErrChecksum)
		return domain.Manifest{}, domain.WithHint(err, "the source is not the one this version of ArcBox was built for; update ArcBox, or choose a version with assets.version")
	}
	m, err := domain.ParseManifest(data)
	if err != nil {
		return domain.Manifest{}, err
	}
	if s.version != "" && m.AssetVersion != s.version {
		return domain.Manifest{}, fmt.Errorf("asset manifest is of version %s, wanted is %s: %w", m.AssetVersion, s.version, domain.ErrInvalid)
	}
	return m, nil
}

func (s *Service) fetchManifest(ctx context.Context) ([]byte, error) {
	data, err := s.fetchSmall(ctx, domain.ManifestFile, domain.MaxManifestSize, manifestTimeout)
	if err != nil {
		err = fmt.Errorf("asset manifest from %s: %w", s.source.Describe(), err)
		if domain.Hint(err) == "" {
			err = domain.WithHint(err, "check the connection and the asset source, then run `arcbox boot prefetch`")
		}
		return nil, err
	}
	return data, nil
}

func (s *Service) fetchSmall(ctx context.Context, path string, limit int64, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, at, _, _, err := s.source.Fetch(ctx, path, 0, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if at != 0 {
		return nil, fmt.Errorf("%s begins at byte %d: %w", path, at, domain.ErrCorrupt)
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes: %w", path, limit, domain.ErrInvalid)
	}
	return data, nil
}
