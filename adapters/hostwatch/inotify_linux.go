package hostwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// What is asked of the kernel: the names in a directory, and the contents of
// its files. Changes of attributes are no changes of files, and following them
// would make a loop: the guest's watchers are woken by one.
const (
	maskNames   = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	maskContent = maskNames | unix.IN_MODIFY | unix.IN_CLOSE_WRITE
)

// event is one inotify_event.
type event struct {
	wd   int32
	mask uint32
	name string // in the watched directory
}

// kernel is one inotify instance.
type kernel interface {
	// add watches a directory, for mask besides what it is watched for already,
	// and returns its descriptor, which is greater than 0 and the same for the
	// same directory. follow has a symbolic link lead to the directory.
	add(path string, mask uint32, follow bool) (int32, error)
	remove(wd int32)
	// read waits for events. Those before the time clean were all read.
	read() (events []event, clean time.Time, err error)
	// close ends read. Nothing is called after it.
	close() error
}

// inotify implements kernel.
type inotify struct {
	fd    int
	file  *os.File
	buf   [64 << 10]byte
	clean time.Time
}

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		err = fmt.Errorf("watch directories of the host: inotify: %w", err)
		if errors.Is(err, unix.EMFILE) {
			err = domain.WithHint(fmt.Errorf("%w: %w", err, domain.ErrUnavailable), "allow more with sysctl -w fs.inotify.max_user_instances=1024")
		}
		return nil, err
	}
	return &inotify{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), clean: time.Now()}, nil
}

func (i *inotify) add(path string, mask uint32, follow bool) (int32, error) {
	mask |= unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD
	if !follow {
		mask |= unix.IN_DONT_FOLLOW
	}
	wd, err := unix.InotifyAddWatch(i.fd, path, mask)
	return int32(wd), err
}

// remove ignores that the directory, and with it the watch, may be gone.
func (i *inotify) remove(wd int32) { _, _ = unix.InotifyRmWatch(i.fd, uint32(wd)) }

func (i *inotify) read() ([]event, time.Time, error) {
	now := time.Now()
	// TIOCINQ is FIONREAD: how many bytes can be read.
	if n, err := unix.IoctlGetInt(i.fd, unix.TIOCINQ); err == nil && n == 0 {
		i.clean = now
	}
	n, err := i.file.Read(i.buf[:])
	return parse(i.buf[:n]), i.clean, err
}

func (i *inotify) close() error { return i.file.Close() }

// parse takes struct inotify_event apart: wd, mask, cookie and len in 32 bits
// each, and a name of len bytes that is padded with zeros.
func parse(p []byte) []event {
	var out []event
	for len(p) >= unix.SizeofInotifyEvent {
		n := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(p[12:]))
		if n > len(p) {
			break
		}
		name, _, _ := strings.Cut(string(p[unix.SizeofInotifyEvent:n]), "\x00")
		out = append(out, event{wd: int32(binary.NativeEndian.Uint32(p)), mask: binary.NativeEndian.Uint32(p[4:]), name: name})
		p = p[n:]
	}
	return out
}
