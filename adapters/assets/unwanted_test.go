package assets_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/assets"
	"arcbox/application/port"
	"arcbox/domain"
)

// breakOff leaves the first 100 bytes of a download behind; the next goes well.
func breakOff(t *testing.T, c *assets.Cache, version string, a domain.Asset, data []byte) (*server, port.AssetSource) {
	t.Helper()
	s := &server{data: data, tag: `"1"`, cutAt: []int{100, 0, 0, 0, 0}}
	src := newSource(t, serve(t, s.ServeHTTP))
	_, err := c.Ensure(t.Context(), version, a, src, nil)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	return s, src
}

func manifestOf(t *testing.T, version string, kernel, binary domain.Asset) []byte {
	t.Helper()
	ref := func(a domain.Asset) map[string]any { return map[string]any{"path": a.Path, "sha256": a.SHA256} }
	data, err := json.Marshal(map[string]any{
		"schema_version": 1, "asset_version": version,
		"targets":  map[string]any{"x86_64": map[string]any{"kernel": ref(kernel), "rootfs": ref(kernel)}},
		"binaries": []any{map[string]any{"name": binary.Name, "targets": map[string]any{"x86_64": ref(binary)}}},
	})
	require.NoError(t, err)
	return data
}

func TestRemoveTakesTheUnfinishedDownloadsThatNoVersionPins(t *testing.T) {
	dir := t.TempDir()
	c := newCache(dir)
	parts := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "boot/.download"))
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	type set struct {
		version        string
		kernelData     []byte
		kernel, binary domain.Asset
		server         *server
		source         port.AssetSource
	}
	sets := []*set{{version: "1.0.0"}, {version: "1.1.0"}}
	for _, s := range sets {
		s.kernelData = random(t, 4096)
		binaryData := random(t, 4096)
		s.kernel = kernel(s.kernelData)
		s.binary = domain.Asset{Kind: domain.AssetBinary, Name: "runc", Path: "bin/runc", SHA256: sum(binaryData)}
		require.NoError(t, c.SaveManifest(t.Context(), s.version, manifestOf(t, s.version, s.kernel, s.binary)))
		s.server, s.source = breakOff(t, c, s.version, s.kernel, s.kernelData)
		breakOff(t, c, s.version, s.binary, binaryData)
	}
	left := filepath.Join(dir, "boot/.download", "."+sets[1].kernel.SHA256+".json123")
	require.NoError(t, os.WriteFile(left, nil, 0o600), "a write that was killed")
	require.Len(t, parts(), 2*2*2+1+1, "a part and its record of each, the lock, and what was killed")

	_, err := c.Remove(t.Context(), "1.0.0")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"lock",
		sets[1].kernel.SHA256 + ".part", sets[1].kernel.SHA256 + ".json",
		sets[1].binary.SHA256 + ".part", sets[1].binary.SHA256 + ".json",
	}, parts())
	path, err := c.Ensure(t.Context(), "1.1.0", sets[1].kernel, sets[1].source, nil)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, sets[1].kernelData, got)
	asked := sets[1].server.asked()
	require.Equal(t, "bytes=100-", asked[len(asked)-1], "gone on with")

	_, err = c.Remove(t.Context(), "1.1.0")
	require.NoError(t, err)
	require.Equal(t, []string{"lock"}, parts(), "without a version nothing is wanted")
}
