package port

import (
	"context"
	"io"

	"arcbox/domain"
)

// AssetSource fetches the files of an asset set.
type AssetSource interface {
	// Fetch opens a file of the set by its path in the manifest, from byte
	// offset on. size is the file's whole length, or -1 when unknown. validator
	// is an opaque tag of this version of the file: when it is passed back with
	// an offset and the file has changed since, the content starts at 0 again
	// and at reports so. The caller closes the reader.
	Fetch(ctx context.Context, path string, offset int64, validator string) (body io.ReadCloser, at, size int64, newValidator string, err error)
	// Describe names the source for messages.
	Describe() string
}

// AssetCache is the verified files on disk.
type AssetCache interface {
	// Manifest returns the cached manifest's bytes of a version, domain.ErrNotFound without one.
	Manifest(ctx context.Context, version string) ([]byte, error)
	// SaveManifest stores a manifest that was verified by the caller.
	SaveManifest(ctx context.Context, version string, data []byte) error
	// Ensure makes sure that the asset's file exists with the pinned content:
	// it verifies what is there (without reading it again when nothing changed
	// since it was verified) or fetches it from src. Only one process fetches a file at a time.
	Ensure(ctx context.Context, version string, a domain.Asset, src AssetSource, progress func(domain.AssetProgress)) (path string, err error)
	// Versions lists the cached versions, oldest first.
	Versions(ctx context.Context) ([]string, error)
	// Remove deletes one version's files, and reports their paths.
	Remove(ctx context.Context, version string) ([]string, error)
}
