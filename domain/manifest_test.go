package domain_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var pin = strings.Repeat("ab", 32)

func manifestJSON(edit func(m map[string]any)) []byte {
	ref := func(path string) map[string]any { return map[string]any{"path": path, "sha256": pin} }
	m := map[string]any{
		"schema_version": 1, "asset_version": "1.2.3+k3s1", "built_at": "2026-11-01T00:00:00Z", "newer_field": 1,
		"targets": map[string]any{
			"x86_64": map[string]any{"kernel": ref("x86_64/kernel"), "rootfs": ref("x86_64/rootfs.erofs"), "kernel_cmdline": "console=ttyS0 quiet"},
			"arm64":  map[string]any{"kernel": ref("arm64/kernel"), "rootfs": ref("arm64/rootfs.erofs")},
		},
		"binaries": []any{
			map[string]any{"name": "dockerd", "version": "29", "targets": map[string]any{"x86_64": ref("/bin/dockerd/29/x86_64/dockerd")}},
			map[string]any{"name": "FEX", "version": "1", "targets": map[string]any{"arm64": ref("bin/FEX")}},
			map[string]any{"name": "vmlinux", "version": "6", "install_dir": "kernel", "targets": map[string]any{"x86_64": ref("bin/vmlinux")}},
			map[string]any{"name": "arcbox-agent", "version": "1", "install_dir": "bin", "targets": map[string]any{"x86_64": ref("bin/arcbox-agent")}},
		},
	}
	if edit != nil {
		edit(m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

func TestManifestAssets(t *testing.T) {
	m, err := domain.ParseManifest(manifestJSON(nil))
	require.NoError(t, err)
	require.Equal(t, "1.2.3+k3s1", m.AssetVersion)
	got, err := m.Assets(domain.ArchX86_64)
	require.NoError(t, err)
	require.Equal(t, []domain.Asset{
		{Kind: domain.AssetKernel, Name: "kernel", Path: "x86_64/kernel", SHA256: pin},
		{Kind: domain.AssetRootfs, Name: "rootfs.erofs", Path: "x86_64/rootfs.erofs", SHA256: pin},
		{Kind: domain.AssetBinary, Name: "dockerd", Version: "29", Path: "/bin/dockerd/29/x86_64/dockerd", SHA256: pin},
		{Kind: domain.AssetBinary, Name: "vmlinux", Version: "6", Path: "bin/vmlinux", SHA256: pin, InstallDir: "runtime/kernel"},
		{Kind: domain.AssetBinary, Name: "arcbox-agent", Version: "1", Path: "bin/arcbox-agent", SHA256: pin, InstallDir: "bin"},
	}, got)
	require.Equal(t, "console=ttyS0 quiet", m.Cmdline(domain.ArchX86_64))
	require.Empty(t, m.Cmdline(domain.ArchARM64))
	_, err = m.Assets("riscv64")
	require.ErrorIs(t, err, domain.ErrUnsupported)
}

func TestParseManifestRefuses(t *testing.T) {
	type m = map[string]any
	kernel := func(v m) m { return v["targets"].(m)["x86_64"].(m)["kernel"].(m) }
	binary := func(v m) m { return v["binaries"].([]any)[0].(m) }
	for name, edit := range map[string]func(v m){
		"schema is not the major": func(v m) { v["schema_version"] = 2 },
		"no schema":               func(v m) { delete(v, "schema_version") },
		"schema too large":        func(v m) { v["schema_version"] = 1 << 40 },
		"no version":              func(v m) { delete(v, "asset_version") },
		"version is a path":       func(v m) { v["asset_version"] = "1/../.." },
		"version without number":  func(v m) { v["asset_version"] = "v1.0.0" },
		"no kernel":               func(v m) { delete(v["targets"].(m)["x86_64"].(m), "kernel") },
		"no rootfs":               func(v m) { delete(v["targets"].(m)["x86_64"].(m), "rootfs") },
		"short pin":               func(v m) { kernel(v)["sha256"] = "abcd" },
		"pin is not hex":          func(v m) { kernel(v)["sha256"] = strings.Repeat("zz", 32) },
		"path upwards":            func(v m) { kernel(v)["path"] = "a/../../etc/passwd" },
		"binary name is a path":   func(v m) { binary(v)["name"] = "../dockerd" },
		"binary name is hidden":   func(v m) { binary(v)["name"] = ".dockerd" },
		"install_dir is a path":   func(v m) { binary(v)["install_dir"] = "../../etc" },
		"install_dir goes up":     func(v m) { binary(v)["install_dir"] = ".." },
		"binary twice":            func(v m) { v["binaries"] = append(v["binaries"].([]any), binary(v)) },
		"cmdline with newline":    func(v m) { v["targets"].(m)["x86_64"].(m)["kernel_cmdline"] = "a\nb" },
		"cmdline too long":        func(v m) { v["targets"].(m)["x86_64"].(m)["kernel_cmdline"] = strings.Repeat("a", 2049) },
		"too large":               func(v m) { v["x"] = strings.Repeat("a", domain.MaxManifestSize) },
		"too many binaries": func(v m) {
			var all []any
			for i := range 257 {
				all = append(all, m{"name": fmt.Sprint("b", i)})
			}
			v["binaries"] = all
		},
	} {
		_, err := domain.ParseManifest(manifestJSON(edit))
		require.ErrorIs(t, err, domain.ErrInvalid, name)
	}
	_, err := domain.ParseManifest([]byte("<html>"))
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = domain.ParseManifest(manifestJSON(func(v m) { v["schema_version"], v["asset_version"] = 0, "0.5.5" }))
	require.NoError(t, err)
}

func TestCheckAssetPath(t *testing.T) {
	for _, ok := range []string{"kernel", "arm64/kernel", "/bin/k3s/v1.34.3-k3s1/arm64/k3s", "a%20b/c", "..a/b..", "bin/x+y"} {
		require.NoError(t, domain.CheckAssetPath(ok), ok)
	}
	for _, bad := range []string{
		"", "/", "//host/x", "https://host/x", "file:///etc/passwd", "mailto:x", "..", "../x", "a/..", "a/../b", "./a", "a/./b", "a//b", "a/",
		"%2e%2e/x", "a/%2E%2e/b", "a%2f..%2fb", "a/%252e%252e/b", "a?b", "a#b", `a\b`, "a%00b", "a%0ab", "a\nb", "a%zz", strings.Repeat("a", 1025),
	} {
		require.ErrorIs(t, domain.CheckAssetPath(bad), domain.ErrInvalid, "%q", bad)
	}
	require.True(t, domain.AbsoluteAssetPath("/a"))
	require.False(t, domain.AbsoluteAssetPath("a"))
}

func TestCheckBootFile(t *testing.T) {
	good := domain.FileFacts{Exists: true, Regular: true, Executable: true, Size: 1}
	require.NoError(t, domain.CheckBootFile("guest agent", "/d/bin/arcbox-agent", good))
	for _, c := range []struct {
		facts      domain.FileFacts
		kind       error
		text, hint string
	}{
		{domain.FileFacts{}, domain.ErrNotFound, "runtime binary runc is missing: /d/runc", "arcbox boot prefetch"},
		{domain.FileFacts{Exists: true}, domain.ErrInvalidState, "is not a regular file: /d/runc", "arcbox boot prefetch"},
		{domain.FileFacts{Exists: true, Regular: true, Executable: true}, domain.ErrCorrupt, "is empty: /d/runc", "--force"},
		{domain.FileFacts{Exists: true, Regular: true, Size: 1}, domain.ErrPermission, "is not executable: /d/runc", "chmod +x /d/runc"},
	} {
		err := domain.CheckBootFile("runtime binary runc", "/d/runc", c.facts)
		require.ErrorIs(t, err, c.kind)
		require.ErrorContains(t, err, c.text)
		require.Contains(t, domain.Hint(err), c.hint)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(manifestJSON(nil))
	f.Add([]byte(`{"schema_version":0,"asset_version":"0","targets":{"":{}},"binaries":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := domain.ParseManifest(data)
		if err != nil {
			require.ErrorIs(t, err, domain.ErrInvalid)
			return
		}
		for arch := range m.Targets {
			all, err := m.Assets(arch)
			require.NoError(t, err)
			for _, a := range all {
				require.True(t, domain.ValidAssetName(a.Name))
				require.Len(t, a.SHA256, 64)
				require.NotContains(t, a.InstallDir, "..")
			}
		}
	})
}

func FuzzCheckAssetPath(f *testing.F) {
	f.Add("a/%2e%2e/b")
	f.Fuzz(func(t *testing.T, p string) {
		if domain.CheckAssetPath(p) != nil {
			return
		}
		for _, step := range strings.Split(strings.ToLower(p), "/") {
			require.NotContains(t, []string{"..", ".", "%2e%2e", "%2e.", ".%2e", "%2e"}, step)
		}
		require.NotContains(t, p, ":/")
	})
}
