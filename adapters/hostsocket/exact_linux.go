package hostsocket

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"arcbox/application/port"
	"arcbox/domain"
)

// DialExact connects to the socket at an absolute path in which nothing is a
// link, also when somebody changes the directories meanwhile; else it is
// domain.ErrPermission. Otherwise it is like Dial.
func (d Dialer) DialExact(ctx context.Context, path string) (port.Stream, error) {
	f, err := openExact(path)
	if err != nil {
		return nil, kindOf(&os.PathError{Op: "open", Path: path, Err: err})
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s is not a socket: %w", path, domain.ErrPermission)
	}
	// The kernel's link leads to what was opened, whatever the path is now.
	return d.Dial(ctx, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// openExact opens what is at path one directory after the other: none of them
// may be a link.
func openExact(path string) (*os.File, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, unix.EINVAL
	}
	at, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	names := strings.Split(path[1:], "/")
	for i, name := range names {
		flags := unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
		if i < len(names)-1 {
			flags |= unix.O_DIRECTORY
		}
		next, err := unix.Openat(at, name, flags, 0)
		_ = unix.Close(at)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return os.NewFile(uintptr(at), path), nil
}
