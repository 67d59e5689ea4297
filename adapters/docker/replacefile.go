package docker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"arcbox/domain"
)

// linkLimit bounds a chain of symbolic links, as the kernel does.
const linkLimit = 40

// replaceFile gives the file at path a content, atomically, unless it has it.
// A symbolic link stays and what it leads to is replaced, as it may lead into
// a repository of dot files. An existing file keeps its mode; mode is for a
// new one.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	target, err := followLinks(path)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(target)
	switch {
	case err == nil:
		if bytes.Equal(old, content) {
			return nil
		}
		info, err := os.Stat(target)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm()
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
	default:
		return err
	}
	// In the same directory, so that it is the same file system.
	return renameio.WriteFile(target, content, mode, renameio.WithTempDir(filepath.Dir(target)), renameio.WithStaticPermissions(mode))
}

// followLinks returns what path leads to, which need not exist.
func followLinks(path string) (string, error) {
	for range linkLimit {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil //nolint:nilerr // no link, or nothing there: the caller meets it as it is
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: too many symbolic links: %w", path, domain.ErrInvalid)
}
