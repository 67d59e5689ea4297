//go:build linux

package vsock

import (
	"context"
	"math"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
)

func TestDialError(t *testing.T) {
	opErr := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "vsock", Err: os.NewSyscallError("connect", errno)}
	}
	for _, c := range []struct {
		in    error
		want  error
		again bool
	}{
		{opErr(syscall.ECONNRESET), syscall.ECONNREFUSED, false},
		{opErr(syscall.ECONNREFUSED), syscall.ECONNREFUSED, false},
		{opErr(syscall.ENODEV), syscall.ENODEV, true},
		{opErr(syscall.ETIMEDOUT), syscall.ETIMEDOUT, true},
		{opErr(syscall.EHOSTUNREACH), syscall.EHOSTUNREACH, true},
		{opErr(syscall.EPERM), syscall.EPERM, false},
	} {
		err, again := dialError(t.Context(), c.in)
		require.ErrorIs(t, err, c.want)
		require.Equal(t, c.again, again, c.in)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err, again := dialError(ctx, ctx.Err())
	require.ErrorIs(t, err, domain.ErrCanceled)
	require.False(t, again)
	ctx, cancel = context.WithTimeout(t.Context(), 0)
	defer cancel()
	err, again = dialError(ctx, opErr(syscall.ENODEV))
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorContains(t, err, "the guest's vsock driver")
	require.False(t, again)
}

func TestPickCID(t *testing.T) {
	taken := map[uint32]bool{3: true, 4: true}
	claim := func(cid uint32) error {
		if taken[cid] {
			return syscall.EADDRINUSE
		}
		return nil
	}
	var next uint64
	counting := func(uint64) uint64 { next++; return next - 1 }
	cid, err := pickCID(claim, counting)
	require.NoError(t, err)
	require.EqualValues(t, 5, cid)

	_, err = pickCID(func(uint32) error { return syscall.EADDRINUSE }, counting)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	_, err = pickCID(func(uint32) error { return syscall.EPERM }, counting)
	require.ErrorIs(t, err, syscall.EPERM)

	require.EqualValues(t, 3, randomCID(func(uint64) uint64 { return 0 }))
	require.EqualValues(t, math.MaxUint32-1, randomCID(func(n uint64) uint64 { return n - 1 }))
}

func TestKernelDeviceClosed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := newKernelDevice(77)
	require.EqualValues(t, 77, d.CID())
	require.Nil(t, d.VhostUser())
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	_, err := d.Dial(t.Context(), 1)
	require.ErrorIs(t, err, domain.ErrNotRunning)
}

func TestOpenServesTheDeviceWhereTheKernelDoesNot(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	d := New(testLogger(t))
	d.node = filepath.Join(t.TempDir(), "missing")
	dev, err := d.Open("default")
	require.NoError(t, err)
	require.NotNil(t, dev.VhostUser())
	require.EqualValues(t, userspaceCID, dev.CID())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	s, err := dev.Dial(ctx, 1)
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.Nil(t, s)
	require.NoError(t, dev.Close())
	_, err = dev.Dial(t.Context(), 1)
	require.ErrorIs(t, err, domain.ErrNotRunning)
}
