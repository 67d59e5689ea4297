package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestDiskError(t *testing.T) {
	for errno, kind := range map[syscall.Errno]error{
		syscall.ENOSPC: domain.ErrUnavailable, syscall.EDQUOT: domain.ErrUnavailable,
		syscall.EFBIG: domain.ErrInvalid, syscall.EACCES: domain.ErrPermission,
	} {
		err := diskError(fmt.Errorf("x: %w", &os.PathError{Op: "write", Path: "p", Err: errno}))
		require.ErrorIs(t, err, kind)
		require.ErrorIs(t, err, errno, "the cause stays")
		require.Equal(t, errno != syscall.EACCES, domain.Hint(err) != "")
	}
	other := errors.New("other")
	require.Equal(t, other, diskError(other))
}
