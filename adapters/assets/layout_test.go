package assets_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestManifestsAndVersions(t *testing.T) {
	dir := t.TempDir()
	c := newCache(dir)
	ctx := t.Context()
	all, err := c.Versions(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = c.Manifest(ctx, "1.0.0")
	require.ErrorIs(t, err, domain.ErrNotFound)
	for _, bad := range []string{"", "..", "a/b", ".download"} {
		require.ErrorIs(t, c.SaveManifest(ctx, bad, nil), domain.ErrInvalid)
		_, err = c.Manifest(ctx, bad)
		require.ErrorIs(t, err, domain.ErrInvalid)
		_, err = c.Remove(ctx, bad)
		require.ErrorIs(t, err, domain.ErrInvalid)
	}
	for i, v := range []string{"2.0.0", "1.0.0", "1.5.0+k3s1"} {
		require.NoError(t, c.SaveManifest(ctx, v, []byte(v)))
		at := time.Unix(1_700_000_000+int64(i), 0)
		require.NoError(t, os.Chtimes(filepath.Join(dir, "boot", v, "manifest.json"), at, at))
		require.NoError(t, c.SaveManifest(ctx, v, []byte(v)), "the same again does not make it newer")
	}
	all, err = c.Versions(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"2.0.0", "1.0.0", "1.5.0+k3s1"}, all)
	got, err := c.Manifest(ctx, "1.0.0")
	require.NoError(t, err)
	require.Equal(t, "1.0.0", string(got))
}

func TestRemove(t *testing.T) {
	dir, data := t.TempDir(), []byte("kernel")
	c := newCache(dir)
	src := newSource(t, serve(t, (&server{data: data, tag: `"1"`}).ServeHTTP))
	binary := domain.Asset{Kind: domain.AssetBinary, Name: "runc", Path: "x", SHA256: sum(data)}
	for _, v := range []string{"1.0.0", "2.0.0"} {
		require.NoError(t, c.SaveManifest(t.Context(), v, []byte("{}")))
		_, err := c.Ensure(t.Context(), v, kernel(data), src, nil)
		require.NoError(t, err)
		_, err = c.Ensure(t.Context(), v, binary, src, nil)
		require.NoError(t, err)
	}
	paths, err := c.Remove(t.Context(), "1.0.0")
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "boot/1.0.0/kernel"), filepath.Join(dir, "boot/1.0.0/manifest.json")}, paths)
	require.NoDirExists(t, filepath.Join(dir, "boot/1.0.0"))

	var seen []domain.AssetPhase
	_, err = c.Ensure(t.Context(), "2.0.0", kernel(data), src, phases(&seen))
	require.NoError(t, err)
	require.Equal(t, []domain.AssetPhase{domain.AssetChecking, domain.AssetCached}, seen, "other versions stay known")
	seen = nil
	_, err = c.Ensure(t.Context(), "2.0.0", binary, src, phases(&seen))
	require.NoError(t, err)
	require.Equal(t, []domain.AssetPhase{domain.AssetChecking, domain.AssetVerifying, domain.AssetCached}, seen, "programs are read again")
	paths, err = c.Remove(t.Context(), "1.0.0")
	require.NoError(t, err)
	require.Empty(t, paths)
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	c := newCache(dir)
	a := domain.Asset{Kind: domain.AssetBinary, Name: "runc"}
	path, facts, err := c.Inspect(t.Context(), "", a)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "runtime/bin/runc"), path)
	require.Zero(t, facts)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.Symlink("/bin/sh", path))
	_, facts, err = c.Inspect(t.Context(), "", a)
	require.NoError(t, err)
	require.True(t, facts.Exists)
	require.False(t, facts.Regular)
	facts, err = c.InspectPath(t.Context(), path)
	require.NoError(t, err)
	require.True(t, facts.Regular, "what the user names may be a link")
	_, _, err = c.Inspect(t.Context(), "../..", domain.Asset{Kind: domain.AssetKernel})
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestBundleIntoCache(t *testing.T) {
	data := random(t, 1<<20)
	p := filepath.Join(t.TempDir(), "set.tar.zst")
	require.NoError(t, os.WriteFile(p, compressed(t, tarball(t, "set/", map[string]string{"manifest.json": "{}", "arch/kernel": string(data)})), 0o600))
	path, err := newCache(t.TempDir()).Ensure(t.Context(), "1.0.0", kernel(data), newSource(t, p), nil)
	require.NoError(t, err)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
}
