package store_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/store"
	"arcbox/domain"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func blocks(t *testing.T, path string) int64 {
	fi, err := os.Stat(path)
	require.NoError(t, err)
	return fi.Sys().(*syscall.Stat_t).Blocks
}

func TestEnsureData(t *testing.T) {
	dir := t.TempDir()
	d := store.NewDisks(dir, quiet())
	img := filepath.Join(dir, "data", "docker.img")

	require.NoError(t, d.EnsureData(t.Context(), img, 2))
	fi, err := os.Stat(img)
	require.NoError(t, err)
	require.EqualValues(t, 2<<30, fi.Size())
	require.Equal(t, os.FileMode(0o600), fi.Mode())
	require.Less(t, blocks(t, img), int64(1024), "sparse")

	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("content"), 1<<30)
	require.NoError(t, err)
	require.NoError(t, d.EnsureData(t.Context(), img, 3))
	fi, err = os.Stat(img)
	require.NoError(t, err)
	require.EqualValues(t, 3<<30, fi.Size(), "grown")
	require.NoError(t, d.EnsureData(t.Context(), img, 1))
	fi, err = os.Stat(img)
	require.NoError(t, err)
	require.EqualValues(t, 3<<30, fi.Size(), "never shrunk")
	got := make([]byte, 7)
	_, err = f.ReadAt(got, 1<<30)
	require.NoError(t, err)
	require.Equal(t, "content", string(got))
	require.NoError(t, f.Close())

	link := filepath.Join(dir, "link.img")
	require.NoError(t, os.Symlink(img, link))
	require.NoError(t, d.EnsureData(t.Context(), link, 4))
	fi, err = os.Stat(img)
	require.NoError(t, err)
	require.EqualValues(t, 4<<30, fi.Size())
}

func TestEnsureDataGoesOnAfterAnInterruption(t *testing.T) {
	img := filepath.Join(t.TempDir(), "docker.img")
	require.NoError(t, os.WriteFile(img, nil, 0o600))
	require.NoError(t, store.NewDisks(t.TempDir(), quiet()).EnsureData(t.Context(), img, 1))
	fi, err := os.Stat(img)
	require.NoError(t, err)
	require.EqualValues(t, 1<<30, fi.Size())
}

func TestEnsureDataRefuses(t *testing.T) {
	dir := t.TempDir()
	d := store.NewDisks(dir, quiet())
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{dir, pipe, "/dev/null"} {
		err := d.EnsureData(t.Context(), path, 1)
		require.ErrorIs(t, err, domain.ErrInvalid, path)
		require.NotEmpty(t, domain.Hint(err))
	}
	img := filepath.Join(dir, "x.img")
	require.ErrorIs(t, d.EnsureData(t.Context(), img, 0), domain.ErrInvalid)
	require.ErrorIs(t, d.EnsureData(t.Context(), img, domain.MaxDisk+1), domain.ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.EnsureData(ctx, img, 1), context.Canceled)
	require.NoFileExists(t, img)
}

// A file size limit makes the truncate fail as a small file system would.
func TestEnsureDataCleansUpAfterAFailure(t *testing.T) {
	if os.Getenv("STORE_TEST_LIMIT") == "" {
		helper(t, "TestEnsureDataCleansUpAfterAFailure", "STORE_TEST_LIMIT=1")
		return
	}
	dir := t.TempDir()
	limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	img := filepath.Join(dir, "docker.img")
	err := store.NewDisks(dir, quiet()).EnsureData(t.Context(), img, 1)
	require.True(t, errors.Is(err, domain.ErrInvalid), "%v", err)
	require.Contains(t, domain.Hint(err), "smaller disk")
	require.NoFileExists(t, img)
}

func TestImageTellsWhatTheHostHasOfADisk(t *testing.T) {
	dir := t.TempDir()
	d, img := store.NewDisks(dir, quiet()), filepath.Join(dir, "docker.img")
	i, err := d.Image(img)
	require.NoError(t, err)
	require.Zero(t, i)
	require.NoError(t, d.EnsureData(t.Context(), img, 1))
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 1<<20), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	i, err = d.Image(img)
	require.NoError(t, err)
	require.EqualValues(t, 1<<30, i.Size)
	require.GreaterOrEqual(t, i.Allocated, uint64(1<<20))
	require.Less(t, i.Allocated, uint64(2<<20))
}
