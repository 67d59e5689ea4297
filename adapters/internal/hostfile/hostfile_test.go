package hostfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestFault(t *testing.T) {
	for errno, want := range map[syscall.Errno]struct {
		kind error
		hint string
	}{
		syscall.ENOSPC: {domain.ErrUnavailable, "free space"},
		syscall.EDQUOT: {domain.ErrUnavailable, "free space"},
		syscall.EFBIG:  {domain.ErrInvalid, "another file system"},
		syscall.EACCES: {domain.ErrPermission, ""},
	} {
		err := Fault(fmt.Errorf("x: %w", &os.PathError{Op: "write", Path: "p", Err: errno}))
		require.ErrorIs(t, err, want.kind)
		require.ErrorIs(t, err, errno, "the cause stays")
		require.Contains(t, domain.Hint(err), want.hint)
		require.Equal(t, want.hint == "", domain.Hint(err) == "")
		require.Equal(t, want.hint == "free space", Full(err))
	}
	other := errors.New("other")
	require.Equal(t, other, Fault(other))
	require.NoError(t, Fault(nil))
}

func TestContentIsReadAsLongAsSomebodyWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("abc"), 0o600))
	got, err := SHA256(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", got, "FIPS 180-2, appendix B.1")
	_, err = SHA256(t.Context(), path+"x")
	require.ErrorIs(t, err, os.ErrNotExist)

	ctx, cancel := context.WithCancelCause(t.Context())
	r, buf := Reader(ctx, strings.NewReader("abc")), make([]byte, 1)
	_, err = r.Read(buf)
	require.NoError(t, err)
	gone := errors.New("the user went away")
	cancel(gone)
	_, err = r.Read(buf)
	require.ErrorIs(t, err, gone)
	_, err = SHA256(ctx, path)
	require.ErrorIs(t, err, gone)
}

func TestIdentityChangesWithTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	at := time.Now().Add(-time.Hour)
	write := func(name, content string, mtime time.Time) Identity {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		require.NoError(t, os.Chtimes(name, mtime, mtime))
		fi, err := os.Lstat(name)
		require.NoError(t, err)
		return IdentityOf(fi)
	}
	first := write(path, "one", at)
	require.Equal(t, first, write(path, "two", at), "neither size, time nor inode differ")
	require.NotEqual(t, first, write(path, "three", at))
	require.NotEqual(t, first, write(path, "one", at.Add(time.Second)))
	other := write(path+"2", "one", at)
	require.NotEqual(t, first, other)
	require.NoError(t, os.Rename(path+"2", path))
	fi, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, other, IdentityOf(fi))
}

func TestSyncDir(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, SyncDir(dir))
	require.ErrorIs(t, SyncDir(filepath.Join(dir, "none")), os.ErrNotExist)
}
