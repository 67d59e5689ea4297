package main

import (
	"archive/tar"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// writeImage makes what docker load takes: one layer with one file of so many
// bytes that do not compress. Source: the Docker image specification v1.2, combined JSON and
// file system changesets.
func writeImage(path string, noise int64) error {
	layer := path + ".layer"
	defer os.Remove(layer)
	sum := sha256.New()
	l, err := os.Create(layer)
	if err != nil {
		return err
	}
	defer l.Close()
	lw := tar.NewWriter(io.MultiWriter(l, sum))
	if err := lw.WriteHeader(&tar.Header{Name: "noise", Mode: 0o644, Size: noise, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.CopyN(lw, rand.Reader, noise); err != nil {
		return err
	}
	if err := lw.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sum.Sum(nil))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{bulkImage + ":latest"}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	size, err := l.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := l.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, e := range []struct {
		name string
		size int64
		from io.Reader
	}{
		{"config.json", int64(len(config)), strings.NewReader(string(config))},
		{"manifest.json", int64(len(manifest)), strings.NewReader(string(manifest))},
		{"layer.tar", size, l},
	} {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: e.size, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := io.Copy(w, e.from); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
