package assets_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/assets"
	"arcbox/domain"
)

// The pin holds on every path: nothing is saved or installed by a manifest that
// is not the pinned one.
func TestPinIsCheckedOnEveryPath(t *testing.T) {
	good, evil := manifest("1.0.0"), append(manifest("1.0.0"), '\n')
	for name, call := range map[string]func(s *assets.Service) error{
		"resolve":        func(s *assets.Service) error { _, err := s.Resolve(t.Context()); return err },
		"prefetch":       func(s *assets.Service) error { _, err := s.Prefetch(t.Context(), false, nil); return err },
		"prefetch force": func(s *assets.Service) error { _, err := s.Prefetch(t.Context(), true, nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.cached("1.0.0", evil)
			f.fetched("manifest.json", evil)
			err := call(f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(good)}))
			require.ErrorIs(t, err, domain.ErrChecksum)
			require.ErrorContains(t, err, sum(good))
			require.ErrorContains(t, err, sum(evil))
			require.NotEmpty(t, domain.Hint(err))
		})
	}
}

func TestOverrideIsUnpinned(t *testing.T) {
	f, data := setUp(t), manifest("1.1.0")
	f.cached("1.1.0", nil)
	f.fetched("manifest.json", data)
	f.cache.EXPECT().SaveManifest(gomock.Any(), "1.1.0", data)
	f.ensures("1.1.0").Times(assetCount)
	f.versions("1.0.0", "1.1.0")
	s := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: pin, OverrideVersion: "1.1.0"})
	require.Contains(t, f.log.String(), "level=WARN")
	require.Contains(t, f.log.String(), "not pinned")
	_, err := s.Resolve(t.Context())
	require.NoError(t, err)

	f = setUp(t)
	f.cached("1.0.0", nil)
	f.fetched("manifest.json", manifest("1.0.0"))
	_, err = f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: pin, OverrideVersion: "1.0.0"}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrChecksum, "the pinned version by name stays pinned")
}

func TestUnpinnedManifestIsRefreshed(t *testing.T) {
	old, data := manifest("1.0.0"), append(manifest("1.0.0"), ' ')
	f := setUp(t)
	f.cached("1.0.0", old)
	f.fetched("manifest.json", data)
	f.cache.EXPECT().SaveManifest(gomock.Any(), "1.0.0", data)
	f.ensures("1.0.0").Times(assetCount)
	f.versions("1.0.0")
	_, err := f.service(t, assets.Options{Version: "1.0.0"}).Resolve(t.Context())
	require.NoError(t, err)
}

func TestUnpinnedFallsBackToTheCache(t *testing.T) {
	f := setUp(t)
	f.versions("0.9.0", "1.0.0").Times(2) // for the newest, and to collect
	f.cached("1.0.0", manifest("1.0.0"))
	f.unreachable()
	f.ensures("1.0.0").Times(assetCount)
	got, err := f.service(t, assets.Options{}).Resolve(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.0.0", got.Version)
	require.Contains(t, f.log.String(), "using the cached manifest")

	f = setUp(t)
	f.versions()
	f.unreachable()
	_, err = f.service(t, assets.Options{}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.ErrorContains(t, err, "https://assets.test/")
	require.Contains(t, domain.Hint(err), "arcbox boot prefetch")

	f = setUp(t)
	f.cached("1.0.0", manifest("1.0.0"))
	f.fetched("manifest.json", []byte("<html>"))
	_, err = f.service(t, assets.Options{Version: "1.0.0"}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid, "a source that gives something wrong is not passed over")
}

func TestManifestOfTheWrongVersion(t *testing.T) {
	f := setUp(t)
	f.cached("1.0.0", nil)
	f.fetched("manifest.json", manifest("1.0.1"))
	_, err := f.service(t, assets.Options{Version: "1.0.0"}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "of version 1.0.1, wanted is 1.0.0")
}

func TestManifestIsBounded(t *testing.T) {
	f := setUp(t)
	f.cached("1.0.0", nil)
	f.fetched("manifest.json", make([]byte, domain.MaxManifestSize+1))
	_, err := f.service(t, assets.Options{Version: "1.0.0"}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "larger than")
}

func TestManifestHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setUp(t)
		f.cached("1.0.0", nil)
		f.source.EXPECT().Fetch(gomock.Any(), "manifest.json", int64(0), "").DoAndReturn(
			func(ctx context.Context, _ string, _ int64, _ string) (io.ReadCloser, int64, int64, string, error) {
				<-ctx.Done()
				return nil, 0, 0, "", ctx.Err()
			})
		started := time.Now()
		_, err := f.service(t, assets.Options{Version: "1.0.0"}).Resolve(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(started))
	})
}
