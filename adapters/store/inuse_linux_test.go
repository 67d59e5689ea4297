package store_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// lockLikeQEMU takes the shared lock on byte 100 that QEMU holds on an image
// that it reads.
func lockLikeQEMU(t *testing.T, path string) (release func()) {
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: unix.SEEK_SET, Start: 100, Len: 1}
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l))
	return func() { require.NoError(t, f.Close()) }
}
