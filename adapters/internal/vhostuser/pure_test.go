//go:build linux

package vhostuser

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNeedEvent(t *testing.T) {
	for _, c := range []struct {
		event, now, old uint16
		want            bool
	}{
		{0, 1, 0, true},
		{1, 1, 0, false},
		{5, 6, 2, true},
		{6, 6, 2, false},
		{1, 6, 2, false},
		{65535, 0, 65535, true},
		{65534, 1, 65530, true},
	} {
		require.Equal(t, c.want, needEvent(c.event, c.now, c.old), "%+v", c)
	}
}
func TestMapLogBounds(t *testing.T) {
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 8192))
	for _, c := range [][2]uint64{{0, 0}, {8193, 0}, {4096, 4100}, {math.MaxUint64, 0}, {4096, math.MaxUint64}, {4096, 2}} {
		_, err := mapLog(fd, c[0], c[1])
		require.Error(t, err, c)
	}
	l, err := mapLog(fd, 4096, 4096)
	require.NoError(t, err)
	defer l.unmap()
	l.mark(4096*40-1, 2)
	l.mark(1<<60, 10) // outside
	require.Equal(t, []byte{0, 0, 0, 0, 1 << 7, 1 << 0}, l.bits[:6])
}
