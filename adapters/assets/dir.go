package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"arcbox/adapters/internal/hostfile"
	"arcbox/domain"
)

// dirSource is an asset set in a directory of this computer.
type dirSource struct{ root string }

func (d *dirSource) Describe() string { return d.root }

func (d *dirSource) Fetch(ctx context.Context, path string, offset int64, validator string) (io.ReadCloser, int64, int64, string, error) {
	fail := func(err error) (io.ReadCloser, int64, int64, string, error) { return nil, 0, 0, "", err }
	if err := context.Cause(ctx); err != nil {
		return fail(err)
	}
	rel, err := relativePath(path)
	if err != nil {
		return fail(err)
	}
	name := filepath.Join(d.root, filepath.FromSlash(rel))
	// Looked at before it is opened: opening a pipe would wait for its writer.
	fi, err := os.Stat(name)
	if err != nil {
		return fail(fileError(err))
	}
	if !fi.Mode().IsRegular() {
		return fail(fmt.Errorf("%s is not a regular file: %w", name, domain.ErrInvalid))
	}
	f, err := os.Open(name)
	if err != nil {
		return fail(fileError(err))
	}
	if fi, err = f.Stat(); err != nil {
		f.Close()
		return fail(err)
	}
	current := fileValidator(fi)
	if validator != current || offset > fi.Size() {
		offset = 0
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return fail(err)
	}
	return f, offset, fi.Size(), current, nil
}

// relativePath checks a path in the manifest for a source that has no root of
// its own beyond the set.
func relativePath(path string) (string, error) {
	if err := domain.CheckAssetPath(path); err != nil {
		return "", err
	}
	if domain.AbsoluteAssetPath(path) {
		return "", fmt.Errorf("path %q begins at a server's root, which only an https source has: %w", path, domain.ErrUnsupported)
	}
	return url.PathUnescape(path)
}

func fileValidator(fi os.FileInfo) string {
	return fmt.Sprintf("%d-%s-%d", fi.Size(), fi.ModTime().UTC().Format(time.RFC3339Nano), hostfile.IdentityOf(fi).Inode)
}

func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", domain.ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", domain.ErrPermission, err)
	}
	return err
}
