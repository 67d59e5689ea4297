package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"arcbox/application/port"
	"arcbox/domain"
)

// maxLinks is how many symbolic links one path may lead over (Linux's MAXSYMLINKS).
const maxLinks = 40

// HostPaths implements port.HostPaths with the file system of this machine.
type HostPaths struct{}

var _ port.HostPaths = HostPaths{}

// NewHostPaths returns the host's paths.
func NewHostPaths() HostPaths { return HostPaths{} }

// Inspect implements port.HostPaths: it follows every link, also one whose
// target is missing, since that target is what a guest would make. A relative
// path is domain.ErrInvalid; what may not be searched domain.ErrPermission.
func (HostPaths) Inspect(path string) (domain.HostPath, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return domain.HostPath{}, fmt.Errorf("inspect %q: not an absolute path: %w", path, domain.ErrInvalid)
	}
	resolved, left := "/", filepath.Clean(path)
	kind := domain.HostPathDirectory
	for links := 0; ; {
		var name string
		if name, left, _ = strings.Cut(strings.TrimLeft(left, "/"), "/"); name == "" {
			return domain.HostPath{Resolved: resolved, Kind: kind}, nil
		}
		if name == ".." { // of a link: what it is relative to has no links any more
			resolved, kind = filepath.Dir(resolved), domain.HostPathDirectory
			continue
		}
		next := filepath.Join(resolved, name) // "." stays
		st, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return domain.HostPath{Resolved: filepath.Join(next, left), Kind: domain.HostPathMissing}, nil
		case err != nil:
			return domain.HostPath{}, inspectError(path, err)
		case st.Mode()&fs.ModeSymlink == 0:
			resolved, kind = next, hostPathKind(st.Mode())
			continue
		}
		if links++; links > maxLinks {
			return domain.HostPath{}, fmt.Errorf("follow %s: more than %d symbolic links: %w", path, maxLinks, domain.ErrInvalid)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return domain.HostPath{}, inspectError(path, err)
		}
		if filepath.IsAbs(target) {
			resolved = "/"
		}
		left, kind = target+"/"+left, domain.HostPathDirectory
	}
}

func inspectError(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("follow %s: %w: %w", path, err, domain.ErrPermission)
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("follow %s: a part of it is no directory: %w", path, domain.ErrInvalid)
	}
	return fmt.Errorf("follow %s: %w: %w", path, err, domain.ErrInvalid)
}

func hostPathKind(m fs.FileMode) domain.HostPathKind {
	switch {
	case m.IsDir():
		return domain.HostPathDirectory
	case m.IsRegular():
		return domain.HostPathFile
	case m&fs.ModeSocket != 0:
		return domain.HostPathSocket
	}
	return domain.HostPathOther
}
