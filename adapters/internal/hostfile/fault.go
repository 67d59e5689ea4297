package hostfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"arcbox/domain"
)

// Fault gives the failures of full, limited and closed file systems a kind of
// the domain, and those that the user can mend a hint. The cause stays in the
// tree; any other error, and nil, is returned as it is.
func Fault(err error) error {
	switch {
	case Full(err):
		return domain.WithHint(fmt.Errorf("the disk is full: %w: %w", domain.ErrUnavailable, err),
			"free space on the disk that holds the data directory")
	case errors.Is(err, syscall.EFBIG):
		return domain.WithHint(fmt.Errorf("the file system cannot hold a file of this size: %w: %w", domain.ErrInvalid, err),
			"choose a data directory on another file system, or a smaller disk")
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", domain.ErrPermission, err)
	}
	return err
}

// Full reports whether err is a disk, or the user's share of it, without space.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
