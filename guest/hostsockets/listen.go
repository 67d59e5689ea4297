package hostsockets

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"arcbox/domain"
)

// maxPath leaves room for Config.Dir below the kernel's limit of 4096 bytes.
const maxPath = 3840

// checkPath takes paths that are the same for the host, the guest and the
// protocol between them.
func checkPath(path string) error {
	switch {
	case len(path) > maxPath:
		return fmt.Errorf("a path of %d bytes: want at most %d: %w", len(path), maxPath, domain.ErrInvalid)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		return fmt.Errorf("path %q: want a file's, absolute and without detours: %w", path, domain.ErrInvalid)
	case strings.ContainsRune(path, 0) || !utf8.ValidString(path):
		return fmt.Errorf("path %q: want text: %w", path, domain.ErrInvalid)
	}
	return nil
}

// listen makes a socket for every user of the guest: a container's processes
// have whatever id, and who may reach what is decided on the host. It replaces
// a socket that nobody here owns. It is bound in dir, of the same mount, and
// moved: so it is never there with another mode, and its path may be longer
// than the 108 bytes of a socket's address, as containers mount it elsewhere.
func listen(dir, path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there and no socket: %w", path, domain.ErrAlreadyExists)
	}
	for _, d := range []string{dir, filepath.Dir(path)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	made, err := os.MkdirTemp(dir, ".new")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(made)
	file := filepath.Join(made, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(file, 0o666), os.Rename(file, path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// remove takes a socket's file away, and the directories below dir that are
// empty then.
func remove(dir, path string) {
	_ = os.Remove(path)
	for p := filepath.Dir(path); below(dir, p) && os.Remove(p) == nil; p = filepath.Dir(p) {
	}
}

// below says whether path is inside dir. Both are clean.
func below(dir, path string) bool { return strings.HasPrefix(path, dir+"/") }
