package assets

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestFileErrors(t *testing.T) {
	other := errors.New("other")
	require.Equal(t, other, fileError(other))
	require.ErrorIs(t, fileError(fs.ErrPermission), domain.ErrPermission)
	require.ErrorIs(t, fileError(fs.ErrNotExist), domain.ErrNotFound)
}
