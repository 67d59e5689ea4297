package netfwd

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
)

// guestSide is the guest's side of l, a datagram socket that carries frames.
func guestSide(t testing.TB, l *Link) *net.UnixConn {
	if l.cfg.Framing == usernet.VhostUser {
		return plugCard(t, l)
	}
	fd, err := unix.Dup(int(l.File().Fd()))
	require.NoError(t, err)
	return connOf(t, os.NewFile(uintptr(fd), "hypervisor"))
}

// connOf makes a connection of f, which it owns.
func connOf(t testing.TB, f *os.File) *net.UnixConn {
	c, err := net.FileConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return c.(*net.UnixConn)
}
