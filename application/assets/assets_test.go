package assets_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/assets"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

var pin = strings.Repeat("ab", 32)

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// manifest is a set with everything that a boot needs.
func manifest(version string) []byte {
	type m = map[string]any
	ref := func(path string) m { return m{"path": path, "sha256": pin} }
	var binaries []any
	for _, n := range append(domain.RequiredRuntimeBinaries(), domain.AgentBinary) {
		binaries = append(binaries, m{"name": n, "version": "1", "targets": m{"x86_64": ref("bin/" + n)}})
	}
	data, err := json.Marshal(m{
		"schema_version": 1, "asset_version": version,
		"targets":  m{"x86_64": m{"kernel": ref("kernel"), "rootfs": ref("rootfs.erofs"), "kernel_cmdline": "quiet"}},
		"binaries": binaries,
	})
	if err != nil {
		panic(err)
	}
	return data
}

// files is an Inspector that finds everything usable, but for exceptions.
type files map[string]domain.FileFacts

func (f files) Inspect(_ context.Context, version string, a domain.Asset) (string, domain.FileFacts, error) {
	dir := a.InstallDir
	switch {
	case a.Kind != domain.AssetBinary:
		dir = "boot/" + version
	case dir == "":
		dir = domain.RuntimeBinDir
	}
	facts, err := f.InspectPath(context.Background(), a.Name)
	return "/d/" + dir + "/" + a.Name, facts, err
}

func (f files) InspectPath(_ context.Context, path string) (domain.FileFacts, error) {
	if facts, ok := f[path]; ok {
		return facts, nil
	}
	return domain.FileFacts{Exists: true, Regular: true, Executable: true, Size: 7}, nil
}

type fixture struct {
	source *mock.MockAssetSource
	cache  *mock.MockAssetCache
	files  files
	log    bytes.Buffer
}

func setUp(t *testing.T) *fixture {
	c := gomock.NewController(t)
	f := &fixture{source: mock.NewMockAssetSource(c), cache: mock.NewMockAssetCache(c), files: files{}}
	f.source.EXPECT().Describe().Return("https://assets.test/").AnyTimes()
	return f
}

func (f *fixture) service(t *testing.T, o assets.Options) *assets.Service {
	t.Helper()
	if o.Arch == "" {
		o.Arch = domain.ArchX86_64
	}
	s, err := assets.New(o, f.source, f.cache, f.files, slog.New(slog.NewTextHandler(&f.log, nil)))
	require.NoError(t, err)
	return s
}

func (f *fixture) cached(version string, data []byte) *gomock.Call {
	if data == nil {
		return f.cache.EXPECT().Manifest(gomock.Any(), version).Return(nil, domain.ErrNotFound)
	}
	return f.cache.EXPECT().Manifest(gomock.Any(), version).Return(data, nil)
}

func (f *fixture) fetched(path string, data []byte) *gomock.Call {
	return f.source.EXPECT().Fetch(gomock.Any(), path, int64(0), "").
		Return(io.NopCloser(bytes.NewReader(data)), int64(0), int64(len(data)), "tag", nil)
}

func (f *fixture) unreachable() *gomock.Call {
	return f.source.EXPECT().Fetch(gomock.Any(), "manifest.json", int64(0), "").
		Return(nil, int64(0), int64(0), "", fmt.Errorf("no network: %w", domain.ErrUnavailable))
}

// ensures lets the cache have everything of a version.
func (f *fixture) ensures(version string) *gomock.Call {
	return f.cache.EXPECT().Ensure(gomock.Any(), version, gomock.Any(), f.source, gomock.Any()).DoAndReturn(
		func(_ context.Context, version string, a domain.Asset, _ port.AssetSource, progress func(domain.AssetProgress)) (string, error) {
			progress(domain.AssetProgress{Phase: domain.AssetCached, Name: a.Name, TotalSize: -1})
			return "/cache/" + version + "/" + a.Name, nil
		})
}

func (f *fixture) versions(v ...string) *gomock.Call {
	return f.cache.EXPECT().Versions(gomock.Any()).Return(v, nil)
}

const assetCount = 9 // kernel, rootfs, six binaries, agent

func TestResolvePinnedNeedsNoNetwork(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	f.cached("1.0.0", data).Times(1)
	f.ensures("1.0.0").Times(2 * assetCount)
	f.versions("1.0.0")
	var seen []domain.AssetProgress
	s := f.service(t, assets.Options{
		Version: "1.0.0", ManifestSHA256: strings.ToUpper(sum(data)),
		Progress: func(p domain.AssetProgress) { seen = append(seen, p) },
	})
	for range 2 {
		got, err := s.Resolve(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.BootAssets{Version: "1.0.0", Kernel: "/cache/1.0.0/kernel", Rootfs: "/cache/1.0.0/rootfs.erofs", Cmdline: "quiet"}, got)
	}
	require.Len(t, seen, 2*assetCount)
	for i, p := range seen[:assetCount] {
		require.Equal(t, i+1, p.Current)
		require.Equal(t, assetCount, p.Total)
	}
}

func TestResolveFetchesWhatTheCacheLacks(t *testing.T) {
	for name, cached := range map[string][]byte{"nothing": nil, "garbage": []byte("{"), "another version's": manifest("1.0.1")} {
		t.Run(name, func(t *testing.T) {
			f, data := setUp(t), manifest("1.0.0")
			f.cached("1.0.0", cached)
			f.fetched("manifest.json", data)
			f.cache.EXPECT().SaveManifest(gomock.Any(), "1.0.0", data)
			f.ensures("1.0.0").Times(assetCount)
			f.versions("1.0.0")
			_, err := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Resolve(t.Context())
			require.NoError(t, err)
		})
	}
}

func TestEnsureFailureNamesTheAsset(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	f.cached("1.0.0", data)
	f.cache.EXPECT().Ensure(gomock.Any(), "1.0.0", gomock.Any(), gomock.Any(), gomock.Any()).Return("", domain.ErrChecksum)
	_, err := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrChecksum)
	require.ErrorContains(t, err, "kernel of asset set 1.0.0")
}

func TestCustomKernel(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	f.cached("1.0.0", data)
	f.ensures("1.0.0").Times(assetCount - 1)
	f.versions("1.0.0")
	o := assets.Options{Version: "1.0.0", ManifestSHA256: sum(data), CustomKernel: "/my/vmlinuz"}
	got, err := f.service(t, o).Resolve(t.Context())
	require.NoError(t, err)
	require.Equal(t, "/my/vmlinuz", got.Kernel)
	require.Equal(t, "/cache/1.0.0/rootfs.erofs", got.Rootfs)

	f = setUp(t)
	f.files["/my/vmlinuz"] = domain.FileFacts{}
	f.cached("1.0.0", data)
	_, err = f.service(t, o).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrNotFound)
	require.ErrorContains(t, err, "/my/vmlinuz")
}

func TestBootIsBlocked(t *testing.T) {
	usable := domain.FileFacts{Exists: true, Regular: true, Executable: true, Size: 1}
	for name, c := range map[string]struct {
		files      files
		kubernetes bool
		kind       error
		text, hint string
	}{
		"agent missing":          {files{"arcbox-agent": {}}, false, domain.ErrNotFound, "guest agent is missing: /d/bin/arcbox-agent", "arcbox boot prefetch"},
		"runc missing":           {files{"runc": {}}, false, domain.ErrNotFound, "runtime binary runc is missing: /d/runtime/bin/runc", "arcbox boot prefetch"},
		"dockerd is a directory": {files{"dockerd": {Exists: true}}, false, domain.ErrInvalidState, "dockerd is not a regular file", "arcbox boot prefetch"},
		"init not executable":    {files{"docker-init": {Exists: true, Regular: true, Size: 1}}, false, domain.ErrPermission, "docker-init is not executable", "chmod +x /d/runtime/bin/docker-init"},
		"no kubernetes":          {files{"kube": {}, "k3s": {}}, true, domain.ErrNotFound, "kube, k3s", "arcbox boot prefetch"},
		"k3s not executable":     {files{"kube": {}, "k3s": {Exists: true, Regular: true, Size: 1}}, true, domain.ErrPermission, "k3s is not executable", "chmod +x"},
		"k3s will do":            {files{"kube": {}, "k3s": usable}, true, nil, "", ""},
		"no kubernetes wanted":   {files{"kube": {}, "k3s": {}}, false, nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t)
			f.files = c.files
			err := f.service(t, assets.Options{Kubernetes: c.kubernetes}).CheckBoot(t.Context())
			if c.kind == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.text)
			require.Contains(t, domain.Hint(err), c.hint)
		})
	}
	f, data := setUp(t), manifest("1.0.0")
	f.files["runc"] = domain.FileFacts{}
	f.cached("1.0.0", data)
	f.ensures("1.0.0").Times(assetCount)
	_, err := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Resolve(t.Context())
	require.ErrorIs(t, err, domain.ErrNotFound, "resolving checks it too")
}

func TestPrefetchForce(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	f.cached("1.0.0", data)
	gomock.InOrder(
		f.fetched("manifest.json", data),
		f.cache.EXPECT().Remove(gomock.Any(), "1.0.0").Return([]string{"x"}, nil),
		f.cache.EXPECT().SaveManifest(gomock.Any(), "1.0.0", data),
		f.ensures("1.0.0").Times(assetCount),
	)
	f.versions("1.0.0")
	n := 0
	_, err := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Prefetch(t.Context(), true, func(domain.AssetProgress) { n++ })
	require.NoError(t, err)
	require.Equal(t, assetCount, n)

	f = setUp(t)
	f.cached("1.0.0", data)
	f.unreachable()
	_, err = f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Prefetch(t.Context(), true, nil)
	require.ErrorIs(t, err, domain.ErrUnavailable, "nothing is removed when the source is away")
}

func TestOldVersionsAreCollected(t *testing.T) {
	for name, c := range map[string]struct {
		have   []string
		remove []string
	}{
		"only current":      {[]string{"1.0.0"}, nil},
		"and previous":      {[]string{"0.9.0", "1.0.0"}, nil},
		"and older":         {[]string{"0.7.0", "0.8.0", "0.9.0", "1.0.0"}, []string{"0.7.0", "0.8.0"}},
		"current is oldest": {[]string{"1.0.0", "1.1.0", "1.2.0"}, []string{"1.1.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, data := setUp(t), manifest("1.0.0")
			f.cached("1.0.0", data)
			f.ensures("1.0.0").Times(assetCount)
			f.versions(c.have...)
			for i, v := range c.remove {
				// A removal that does not work is not worth failing a boot.
				f.cache.EXPECT().Remove(gomock.Any(), v).Return(nil, []error{errors.New("busy"), nil}[i%2])
			}
			_, err := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)}).Resolve(t.Context())
			require.NoError(t, err)
			require.Equal(t, len(c.remove) > 0, strings.Contains(f.log.String(), "busy"))
		})
	}
}

func TestStatus(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	f.cached("1.0.0", data).Times(3)
	s := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)})
	st, err := s.Status(t.Context(), true)
	require.NoError(t, err)
	require.Equal(t, "1.0.0", st.Manifest.AssetVersion)
	st.Manifest = nil
	require.Equal(t, assets.Status{
		Version: "1.0.0", Arch: domain.ArchX86_64, Pinned: true, Source: "https://assets.test/", Cached: true,
		Kernel: assets.File{Path: "/d/boot/1.0.0/kernel", Size: 7}, Rootfs: assets.File{Path: "/d/boot/1.0.0/rootfs.erofs", Size: 7},
	}, st)

	f.files["rootfs.erofs"] = domain.FileFacts{}
	f.fetched("/latest.json", []byte(`{"version":"1.1.0"}`))
	st, err = s.Status(t.Context(), false)
	require.NoError(t, err)
	require.False(t, st.Cached)
	require.EqualValues(t, -1, st.Rootfs.Size)
	require.Equal(t, "1.1.0", st.Latest)
	require.True(t, st.UpdateAvailable)

	f.fetched("/latest.json", []byte(`{"version":"../../x"}`))
	st, err = s.Status(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, st.Latest)
	require.False(t, st.UpdateAvailable)

	f = setUp(t)
	f.cached("1.0.0", nil)
	f.source.EXPECT().Fetch(gomock.Any(), "/latest.json", int64(0), "").Return(nil, int64(0), int64(0), "", domain.ErrUnavailable)
	st, err = f.service(t, assets.Options{Version: "1.0.0"}).Status(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, assets.Status{
		Version: "1.0.0", Arch: domain.ArchX86_64, Source: "https://assets.test/", Kernel: assets.File{Size: -1}, Rootfs: assets.File{Size: -1},
	}, st)
}

func TestClear(t *testing.T) {
	f := setUp(t)
	f.versions("1.0.0", "1.1.0")
	f.cache.EXPECT().Remove(gomock.Any(), "1.0.0").Return([]string{"a"}, errors.New("busy"))
	f.cache.EXPECT().Remove(gomock.Any(), "1.1.0").Return([]string{"b", "c"}, nil)
	paths, err := f.service(t, assets.Options{}).Clear(t.Context())
	require.Equal(t, []string{"a", "b", "c"}, paths)
	require.ErrorContains(t, err, "removing asset set 1.0.0: busy")
}

func TestRemoveOldKeepsWhatIsBooted(t *testing.T) {
	f, data := setUp(t), manifest("1.0.0")
	s := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)})
	paths, _, err := s.RemoveOld(t.Context())
	require.NoError(t, err)
	require.Empty(t, paths, "it is not known yet what is booted")

	f.cached("1.0.0", data)
	f.ensures("1.0.0").Times(assetCount)
	f.versions("0.9.0", "1.0.0")
	f.versions("0.9.0", "1.0.0")
	_, err = s.Resolve(t.Context())
	require.NoError(t, err)
	f.cache.EXPECT().Remove(gomock.Any(), "0.9.0").Return([]string{"a", "b"}, nil)
	paths, bytes, err := s.RemoveOld(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, paths)
	require.EqualValues(t, 14, bytes, "kernel and root")
}

func TestNewRefuses(t *testing.T) {
	f := setUp(t)
	for _, o := range []assets.Options{
		{}, {Arch: "x86_64", ManifestSHA256: "abc"}, {Arch: "x86_64", Version: "../x"}, {Arch: "x86_64", OverrideVersion: "a b"},
	} {
		_, err := assets.New(o, f.source, f.cache, f.files, slog.New(slog.DiscardHandler))
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, data := setUp(t), manifest("1.0.0")
		f.cached("1.0.0", data)
		f.versions("1.0.0")
		busy := false
		f.cache.EXPECT().Ensure(gomock.Any(), "1.0.0", gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
			func(context.Context, string, domain.Asset, port.AssetSource, func(domain.AssetProgress)) (string, error) {
				require.False(t, busy)
				busy = true
				time.Sleep(time.Second)
				busy = false
				return "/x", nil
			}).Times(2 * assetCount)
		s := f.service(t, assets.Options{Version: "1.0.0", ManifestSHA256: sum(data)})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := s.Resolve(t.Context())
				errs <- err
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Clear(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
	})
}
