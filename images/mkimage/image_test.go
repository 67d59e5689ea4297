package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var epoch = time.Unix(1793491200, 0).UTC()

// tree makes a folder with every kind of entry an image can hold.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o700, "etc/conf": 0o600, "z": 0o644} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tool", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	return root
}

func read(t *testing.T, archive []byte) (names []string, headers map[string]*tar.Header, contents map[string][]byte) {
	t.Helper()
	headers, contents = map[string]*tar.Header{}, map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		headers[header.Name] = header
		if contents[header.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLayerDependsOnlyOnNamesContentsAndExecutableBits(t *testing.T) {
	var layer bytes.Buffer
	if err := writeLayer(&layer, tree(t), epoch); err != nil {
		t.Fatal(err)
	}
	names, headers, contents := read(t, layer.Bytes())
	if got, want := strings.Join(names, " "), "bin/ bin/sh bin/tool etc/ etc/conf tmp/ z"; got != want {
		t.Errorf("entries %q, want %q", got, want)
	}
	for name, mode := range map[string]int64{"bin/": 0o755, "bin/tool": 0o755, "etc/conf": 0o644, "tmp/": 0o1777, "z": 0o644} {
		if got := headers[name].Mode; got != mode {
			t.Errorf("%s has mode %o, want %o", name, got, mode)
		}
	}
	for name, header := range headers {
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || !header.ModTime.Equal(epoch) {
			t.Errorf("%s carries an owner or a time of its own: %+v", name, header)
		}
	}
	if got := headers["bin/sh"].Linkname; got != "tool" {
		t.Errorf("bin/sh points at %q", got)
	}
	if got := string(contents["etc/conf"]); got != "content of etc/conf" {
		t.Errorf("etc/conf contains %q", got)
	}
}

func TestImageIsCompleteInBothLayouts(t *testing.T) {
	spec := imageSpec{
		Name: "busybox:latest", Architecture: "amd64", Created: epoch,
		Cmd: []string{"sh"}, Env: []string{"PATH=/bin"}, Ports: []string{"80/tcp"},
	}
	var out bytes.Buffer
	if err := writeImage(&out, spec, tree(t)); err != nil {
		t.Fatal(err)
	}
	_, _, files := read(t, out.Bytes())

	decode := func(name string, v any) {
		t.Helper()
		data, ok := files[name]
		if !ok {
			t.Fatalf("%s is not in the archive", name)
		}
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	resolve := func(d descriptor) string {
		t.Helper()
		path := blobPath(d.Digest)
		if data := files[path]; digest(data) != d.Digest || int64(len(data)) != d.Size {
			t.Fatalf("%s does not match its descriptor %+v", path, d)
		}
		return path
	}

	var idx index
	decode("index.json", &idx)
	if len(idx.Manifests) != 1 {
		t.Fatalf("%d images in the index", len(idx.Manifests))
	}
	if got, want := idx.Manifests[0].Annotations["io.containerd.image.name"], "docker.io/library/busybox:latest"; got != want {
		t.Errorf("image name %q, want %q", got, want)
	}
	var m manifest
	decode(resolve(idx.Manifests[0]), &m)
	var config imageConfig
	decode(resolve(m.Config), &config)
	layer := resolve(m.Layers[0])
	if config.RootFS.DiffIDs[0] != m.Layers[0].Digest {
		t.Error("the layer is not the one that the configuration names")
	}
	if config.Config.Cmd[0] != "sh" || !config.Created.Equal(epoch) {
		t.Errorf("configuration %+v", config)
	}
	if _, ok := config.Config.ExposedPorts["80/tcp"]; !ok {
		t.Error("port 80 is not exposed")
	}

	var docker []dockerManifest
	decode("manifest.json", &docker)
	if docker[0].RepoTags[0] != "busybox:latest" || docker[0].Layers[0] != layer || docker[0].Config != blobPath(m.Config.Digest) {
		t.Errorf("manifest.json names other parts than index.json: %+v", docker[0])
	}
}

func TestSameFolderGivesSameBytes(t *testing.T) {
	build := func() []byte {
		root := tree(t)
		now := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(root, "z"), now, now); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := run([]string{"-o", out, "-name", "a/b:latest", "-root", root, "-epoch", "7", "-cmd", `["sh","-c","x"]`}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if !bytes.Equal(build(), build()) {
		t.Error("two builds of the same folder differ")
	}
}

func TestRefusals(t *testing.T) {
	root := tree(t)
	out := filepath.Join(t.TempDir(), "image.tar")
	for want, args := range map[string][]string{
		"-o is required":          {"-name", "a:b", "-root", root},
		"has no tag":              {"-o", out, "-name", "a", "-root", root},
		"not a JSON list":         {"-o", out, "-name", "a:b", "-root", root, "-cmd", "sh"},
		"no such file":            {"-o", out, "-name", "a:b", "-root", filepath.Join(root, "none")},
		"flag provided but not d": {"-x"},
	} {
		if err := run(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", args, err, want)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-o", out, "-name", "a:b", "-root", root}); err == nil || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("a pipe was taken: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) != 0 {
		t.Errorf("a failed run left %v", left)
	}
}
