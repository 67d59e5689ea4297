package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func assets(t *testing.T, paths ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range paths {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The SHA-256 of nothing.
const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestManifest(t *testing.T) {
	dir := assets(t, "x86_64/kernel", "x86_64/rootfs.erofs",
		"bin/runc/1.5.2/x86_64/runc", "bin/arcbox-agent/abc/x86_64/arcbox-agent")
	args := []string{
		"-assets", dir, "-version", "1.2.3", "-epoch", "1793491200", "-kernel-version", "6.12.117",
		"-cmdline", "console=ttyS0 ro", "-install-dirs", "arcbox-agent=bin",
	}
	want := strings.ReplaceAll(`{
  "schema_version": 1,
  "asset_version": "1.2.3",
  "built_at": "2026-11-01T00:00:00Z",
  "targets": {
    "x86_64": {
      "kernel": {
        "path": "x86_64/kernel",
        "sha256": "EMPTY",
        "version": "6.12.117"
      },
      "rootfs": {
        "path": "x86_64/rootfs.erofs",
        "sha256": "EMPTY",
        "version": "1.2.3"
      },
      "kernel_cmdline": "console=ttyS0 ro"
    }
  },
  "binaries": [
    {
      "name": "arcbox-agent",
      "version": "abc",
      "targets": {
        "x86_64": {
          "path": "bin/arcbox-agent/abc/x86_64/arcbox-agent",
          "sha256": "EMPTY"
        }
      },
      "install_dir": "bin"
    },
    {
      "name": "runc",
      "version": "1.5.2",
      "targets": {
        "x86_64": {
          "path": "bin/runc/1.5.2/x86_64/runc",
          "sha256": "EMPTY"
        }
      }
    }
  ]
}
`, "EMPTY", empty)
	for range 2 {
		if err := run(args); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("manifest:\n%s\nwant:\n%s", got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	pair := []string{"x86_64/kernel", "x86_64/rootfs.erofs"}
	for _, test := range []struct {
		want  string
		files []string
		args  []string
	}{
		{"no <arch>/kernel", nil, nil},
		{"rootfs.erofs", pair[:1], nil},
		{"two versions", append([]string{"bin/a/1/x86_64/a", "bin/a/2/x86_64/a"}, pair...), nil},
		{"should be called a", append([]string{"bin/a/1/x86_64/b"}, pair...), nil},
		{"major number", pair, []string{"-version", "latest"}},
		{"not there", pair, []string{"-install-dirs", "agent=bin"}},
		{"not name=folder", pair, []string{"-install-dirs", "agent"}},
		{"are required", pair, []string{"-cmdline", ""}},
	} {
		dir := assets(t, test.files...)
		args := append([]string{"-assets", dir, "-version", "1.0.0", "-cmdline", "x"}, test.args...)
		if err := run(args); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want %q", test, err, test.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "manifest.json")); err == nil {
			t.Errorf("%v: a manifest was written", test)
		}
	}
}
