package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// imageSpec is what an image has beside its files.
type imageSpec struct {
	Name         string // repository and tag
	Architecture string
	Created      time.Time
	Cmd          []string
	Env          []string
	WorkingDir   string
	Ports        []string
}

// The parts of the OCI image format that are used here.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
		Platform    *platform         `json:"platform,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	imageConfig struct {
		Created      time.Time `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       runConfig `json:"config"`
		RootFS       rootFS    `json:"rootfs"`
	}
	runConfig struct {
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
		Env          []string            `json:"Env,omitempty"`
		Cmd          []string            `json:"Cmd,omitempty"`
		WorkingDir   string              `json:"WorkingDir,omitempty"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	// dockerManifest is the entry of manifest.json, the older of the two
	// layouts that an archive can have at once.
	dockerManifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
)

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// writeImage writes an archive that is an OCI layout and a docker-archive at
// the same time, as `docker save` does, so that every engine can load it.
func writeImage(w io.Writer, spec imageSpec, root string) error {
	var layer bytes.Buffer
	if err := writeLayer(&layer, root, spec.Created); err != nil {
		return err
	}

	config := imageConfig{
		Created:      spec.Created,
		Architecture: spec.Architecture,
		OS:           "linux",
		Config:       runConfig{Env: spec.Env, Cmd: spec.Cmd, WorkingDir: spec.WorkingDir},
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{digest(layer.Bytes())}},
	}
	for _, port := range spec.Ports {
		if config.Config.ExposedPorts == nil {
			config.Config.ExposedPorts = map[string]struct{}{}
		}
		config.Config.ExposedPorts[port] = struct{}{}
	}

	archive := &blobArchive{tar: tar.NewWriter(w), time: spec.Created}
	if err := archive.dirs("blobs", "blobs/sha256"); err != nil {
		return err
	}
	layerBlob, err := archive.blob(mediaLayer, layer.Bytes())
	if err != nil {
		return err
	}
	configBlob, err := archive.jsonBlob(mediaConfig, config)
	if err != nil {
		return err
	}
	manifestBlob, err := archive.jsonBlob(mediaManifest, manifest{
		SchemaVersion: 2, MediaType: mediaManifest,
		Config: configBlob, Layers: []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}

	manifestBlob.Platform = &platform{Architecture: spec.Architecture, OS: "linux"}
	manifestBlob.Annotations = map[string]string{
		"io.containerd.image.name":          "docker.io/" + familiar(spec.Name),
		"org.opencontainers.image.ref.name": spec.Name[strings.LastIndex(spec.Name, ":")+1:],
	}
	if err := archive.json("index.json", index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{manifestBlob}}); err != nil {
		return err
	}
	if err := archive.json("manifest.json", []dockerManifest{{
		Config:   blobPath(configBlob.Digest),
		RepoTags: []string{spec.Name},
		Layers:   []string{blobPath(layerBlob.Digest)},
	}}); err != nil {
		return err
	}
	if err := archive.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	return archive.tar.Close()
}

// familiar completes a name without an owner, as engines do.
func familiar(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return "library/" + name
}

// writeLayer writes the folder as a tar stream in which only names, contents
// and the executable bit come from the disk: entries are sorted, owned by root,
// dated t, and have one of the modes 0755, 0644 and, for /tmp, 1777.
func writeLayer(w io.Writer, root string, t time.Time) error {
	tw := tar.NewWriter(w)
	// WalkDir visits in lexical order.
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), ModTime: t, Format: tar.FormatPAX, Mode: 0o644}
		switch {
		case info.IsDir():
			header.Typeflag = tar.TypeDir
			header.Name += "/"
			header.Mode = 0o755
			if name == "tmp" {
				header.Mode = 0o1777
			}
		case info.Mode()&fs.ModeSymlink != 0:
			header.Typeflag = tar.TypeSymlink
			header.Mode = 0o777
			if header.Linkname, err = os.Readlink(path); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			header.Typeflag = tar.TypeReg
			header.Size = info.Size()
			if info.Mode()&0o111 != 0 {
				header.Mode = 0o755
			}
		default:
			return fmt.Errorf("%s is a %s, which an image of this tool cannot hold", path, info.Mode().Type())
		}
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(tw, file)
		return err
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// blobArchive writes the outer archive.
type blobArchive struct {
	tar  *tar.Writer
	time time.Time
}

func (a *blobArchive) dirs(names ...string) error {
	for _, name := range names {
		if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: a.time}); err != nil {
			return err
		}
	}
	return nil
}

func (a *blobArchive) file(name string, data []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o644, ModTime: a.time}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.tar.Write(data)
	return err
}

func (a *blobArchive) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.file(name, data)
}

func (a *blobArchive) blob(mediaType string, data []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digest(data), Size: int64(len(data))}
	return d, a.file(blobPath(d.Digest), data)
}

func (a *blobArchive) jsonBlob(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func blobPath(digest string) string {
	return "blobs/" + strings.Replace(digest, ":", "/", 1)
}
