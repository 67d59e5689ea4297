package assets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"arcbox/domain"
)

func fullDisk(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// diskError gives the failure that users meet most a kind and a way out.
func diskError(err error) error {
	if !fullDisk(err) {
		return err
	}
	return domain.WithHint(fmt.Errorf("the disk is full: %w: %w", domain.ErrUnavailable, err),
		"free space on the disk that holds the data directory")
}

// syncDir makes a rename last over a crash of the host.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func writeAtomic(path string, data []byte, mode os.FileMode) error {
	// The temporary file must be on the same file system, whatever TMPDIR says.
	if err := renameio.WriteFile(path, data, mode, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return diskError(err)
	}
	return syncDir(filepath.Dir(path))
}

func inode(fi os.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
