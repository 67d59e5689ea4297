package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"arcbox/domain"
)

// diskError gives the failures of full and limited file systems a kind and a
// way out.
func diskError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return domain.WithHint(fmt.Errorf("the disk is full: %w: %w", domain.ErrUnavailable, err),
			"free space on the disk that holds the data directory")
	case errors.Is(err, syscall.EFBIG):
		return domain.WithHint(fmt.Errorf("the file system cannot hold a file of this size: %w: %w", domain.ErrInvalid, err),
			"choose a smaller disk, or a data directory on another file system")
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", domain.ErrPermission, err)
	}
	return err
}

// syncDir makes creations and renames last over a crash of the host.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
