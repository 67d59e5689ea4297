//go:build linux

package disk

import (
	"context"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// Usage says how full the mounted file system is.
func (d Disk) Usage() (domain.DiskUsage, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.Target, &fs); err != nil {
		return domain.DiskUsage{}, fmt.Errorf("usage of the data disk: %w", err)
	}
	size := uint64(fs.Bsize)
	u := domain.DiskUsage{Total: fs.Blocks * size, Free: fs.Bavail * size, Inodes: fs.Files, FreeInodes: fs.Ffree}
	if f, err := os.Open(d.Device); err == nil {
		if end, err := f.Seek(0, io.SeekEnd); err == nil {
			u.Device = uint64(end)
		}
		_ = f.Close()
	}
	return u, nil
}

// trimStep is how much of the disk is looked at between two looks at ctx, bytes.
const trimStep = 4 << 30

// fitrim is FITRIM, _IOWR('X', 121, struct fstrim_range).
// Source: Linux, include/uapi/linux/fs.h.
const fitrim = 3<<30 | 24<<16 | 'X'<<8 | 121

// trimRange is struct fstrim_range: bytes. The kernel answers in length.
type trimRange struct{ start, length, least uint64 }

// Trim gives every block that the file system does not use back to the host,
// and returns how many bytes that were; the kernel remembers what it has given
// back since the mount. Most is given back when it is deleted (the mount option
// discard); a discard that a crash has lost is made up for here.
func (d Disk) Trim(ctx context.Context) (uint64, error) {
	dir, err := os.Open(d.Target)
	if err != nil {
		return 0, fmt.Errorf("trim the data disk: %w", err)
	}
	defer func() { _ = dir.Close() }()
	// What is deleted is free when the journal has said so.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return 0, fmt.Errorf("trim the data disk: %w", err)
	}
	u, err := d.Usage()
	if err != nil {
		return 0, err
	}
	var given uint64
	for at := uint64(0); at < max(u.Device, u.Total) && ctx.Err() == nil; at += trimStep {
		r := trimRange{start: at, length: trimStep}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fitrim, uintptr(unsafe.Pointer(&r)))
		switch {
		case errno == unix.EINTR:
			at -= trimStep
		case errno == unix.EINVAL && at > 0: // the file system is smaller than its disk
			return given, nil
		case errno != 0:
			return given, fmt.Errorf("trim the data disk: %w", errno)
		default:
			given += r.length
		}
	}
	if err := context.Cause(ctx); err != nil {
		return given, fmt.Errorf("trim the data disk: %w", err)
	}
	return given, nil
}
