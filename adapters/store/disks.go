package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"arcbox/adapters/internal/hostfile"
	"arcbox/application/port"
	"arcbox/domain"
)

// Disks makes disk images. It is safe for concurrent use, also by several
// processes.
type Disks struct {
	data string
	log  *slog.Logger
}

var (
	_ port.Disks      = (*Disks)(nil)
	_ port.DiskImages = (*Disks)(nil)
)

// NewDisks returns the maker of disk images; dataDir is where the runtime's
// files are taken from.
func NewDisks(dataDir string, log *slog.Logger) *Disks {
	return &Disks{data: filepath.Clean(dataDir), log: log}
}

// EnsureData implements port.Disks. The directory is made if it is missing. A
// link is followed; what is not a regular file is refused with
// domain.ErrInvalid, and left alone. The machine must not run.
func (d *Disks) EnsureData(ctx context.Context, path string, size domain.GiB) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if size == 0 || size > domain.MaxDisk {
		return fmt.Errorf("data disk %s of %d GiB, want 1 to %d: %w", path, size, domain.MaxDisk, domain.ErrInvalid)
	}
	want := int64(size.Bytes())
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.createData(path, want); err != nil {
			return hostfile.Fault(fmt.Errorf("creating data disk %s: %w", path, err))
		}
		d.log.Info("created data disk", "path", path, "gib", size)
		return nil
	case err != nil:
		return hostfile.Fault(fmt.Errorf("data disk %s: %w", path, err))
	case !fi.Mode().IsRegular():
		err := fmt.Errorf("data disk %s is not a regular file: %w", path, domain.ErrInvalid)
		return domain.WithHint(err, "move it away, or choose another path for the disk image")
	case fi.Size() >= want:
		if fi.Size() > want {
			d.log.Warn("the data disk is larger than configured, and stays so: a disk is never made smaller", "path", path, "bytes", fi.Size(), "gib", size)
		}
		return nil
	}
	if err := growData(path, fi, want); err != nil {
		return hostfile.Fault(fmt.Errorf("growing data disk %s: %w", path, err))
	}
	d.log.Info("grew data disk", "path", path, "from_bytes", fi.Size(), "gib", size)
	return nil
}

// Image implements port.DiskImages. A link is followed.
func (d *Disks) Image(path string) (domain.DiskImage, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return domain.DiskImage{}, nil
	case err != nil:
		return domain.DiskImage{}, fmt.Errorf("data disk %s: %w", path, err)
	}
	i := domain.DiskImage{Size: uint64(fi.Size())}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		i.Allocated = uint64(st.Blocks) * 512 // whatever st_blksize says: stat(2)
	}
	return i, nil
}

// createData leaves an empty image behind when it is interrupted, which the
// next call grows.
func (d *Disks) createData(path string, size int64) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		// Nothing is in it yet, and it is ours: O_EXCL made it.
		return errors.Join(err, os.Remove(path))
	}
	return hostfile.SyncDir(dir)
}

func growData(path string, seen os.FileInfo, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(seen, fi) || fi.Size() != seen.Size() {
		return fmt.Errorf("it changed while it was looked at: %w", domain.ErrConflict)
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}
