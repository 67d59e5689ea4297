package assets

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestDiskAndFileErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		err := diskError(&os.PathError{Op: "write", Path: "p", Err: errno})
		require.ErrorIs(t, err, domain.ErrUnavailable)
		require.ErrorIs(t, err, errno)
		require.Contains(t, domain.Hint(err), "free space")
	}
	other := errors.New("other")
	require.Equal(t, other, diskError(other))
	require.Equal(t, other, fileError(other))
	require.ErrorIs(t, fileError(fs.ErrPermission), domain.ErrPermission)
	require.ErrorIs(t, fileError(fs.ErrNotExist), domain.ErrNotFound)
}
