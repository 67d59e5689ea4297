package vz

import (
	"bytes"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// pair returns two connected Unix sockets.
func pair(t *testing.T, kind int) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	require.NoError(t, err)
	a, b = os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func dupForTest(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), "duplicate"), err
}

func TestDuplicateLink(t *testing.T) {
	ours, gateway := pair(t, unix.SOCK_DGRAM)
	n := Network{SendBuffer: 96 << 10, ReceiveBuffer: 128 << 10}
	dup, err := duplicateLink(ours, n)
	require.NoError(t, err)
	defer dup.Close()
	require.NotEqual(t, ours.Fd(), dup.Fd())

	// Frames keep their borders, and the duplicate outlives the original.
	require.NoError(t, ours.Close())
	frame := bytes.Repeat([]byte{7}, 9000)
	for _, size := range []int{9000, 60} {
		_, err = dup.Write(frame[:size])
		require.NoError(t, err)
	}
	buf := make([]byte, 65536)
	for _, size := range []int{9000, 60} {
		n, err := gateway.Read(buf)
		require.NoError(t, err)
		require.Equal(t, frame[:size], buf[:n])
	}

	flags, err := unix.FcntlInt(dup.Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC, "a child of the daemon does not inherit it")
	for option, size := range map[int]int{unix.SO_SNDBUF: n.SendBuffer, unix.SO_RCVBUF: n.ReceiveBuffer} {
		got, err := unix.GetsockoptInt(int(dup.Fd()), unix.SOL_SOCKET, option)
		require.NoError(t, err)
		require.GreaterOrEqual(t, got, size)
	}
}

func TestDuplicateLinkRefuses(t *testing.T) {
	stream, _ := pair(t, unix.SOCK_STREAM)
	_, err := duplicateLink(stream, Network{})
	require.ErrorIs(t, err, domain.ErrInvalid)
	file, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	_, err = duplicateLink(file, Network{})
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.NoError(t, file.Close())
	_, err = duplicateLink(file, Network{})
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = duplicateLink(nil, Network{})
	require.ErrorIs(t, err, domain.ErrInvalid)
}

// libraryConn has the shape of the library's connection.
type libraryConn struct {
	rawConn net.Conn
}

func unixConn(t *testing.T, f *os.File) *net.UnixConn {
	t.Helper()
	c, err := net.FileConn(f)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}

func TestHalfCloser(t *testing.T) {
	near, far := pair(t, unix.SOCK_STREAM)
	s, err := halfCloser(&libraryConn{rawConn: unixConn(t, near)})
	require.NoError(t, err)
	near.Close()
	peer := unixConn(t, far)
	far.Close()

	_, err = s.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	buf := make([]byte, 64)
	n, err := peer.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "question", string(buf[:n]))
	_, err = peer.Read(buf)
	require.ErrorContains(t, err, "EOF")
	_, err = peer.Write([]byte("answer"))
	require.NoError(t, err, "the other direction stays open")
	n, err = s.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "answer", string(buf[:n]))
	require.NoError(t, s.Close())
	_, err = peer.Write([]byte("more"))
	require.ErrorIs(t, err, syscall.EPIPE)
}

func TestHalfCloserRefuses(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for name, conn := range map[string]any{
		"nil":              nil,
		"typed nil":        (*libraryConn)(nil),
		"not a pointer":    libraryConn{},
		"no struct":        new(int),
		"no field":         &struct{ conn net.Conn }{},
		"field of a type":  &struct{ rawConn *net.UnixConn }{},
		"nothing inside":   &libraryConn{},
		"nil inside":       &libraryConn{rawConn: (*net.UnixConn)(nil)},
		"no socket inside": &libraryConn{rawConn: a},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := halfCloser(conn)
			require.ErrorIs(t, err, domain.ErrUnsupported)
			require.Nil(t, s)
		})
	}
}

func TestSetBuffers(t *testing.T) {
	n := Network{SendBuffer: sendBuffer, ReceiveBuffer: receiveBuffer}
	for name, test := range map[string]struct {
		limit         int
		send, receive int
		err           error
	}{
		"all of it":   {receiveBuffer, sendBuffer, receiveBuffer, nil},
		"half":        {receiveBuffer - 1, sendBuffer / 2, receiveBuffer / 2, nil},
		"the least":   {4 * minSendBuffer, minSendBuffer, 4 * minSendBuffer, nil},
		"less":        {4*minSendBuffer - 1, 0, 0, unix.ENOBUFS},
		"not granted": {-1, 0, 0, unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[int]int{}
			err := setBuffers(n, func(option, size int) error {
				switch {
				case test.limit < 0:
					return unix.EINVAL
				case size > test.limit:
					return unix.ENOBUFS
				}
				got[option] = size
				return nil
			})
			if test.err != nil {
				require.ErrorIs(t, err, test.err)
				require.ErrorIs(t, err, domain.ErrUnavailable)
				return
			}
			require.NoError(t, err)
			require.Equal(t, map[int]int{unix.SO_SNDBUF: test.send, unix.SO_RCVBUF: test.receive}, got)
		})
	}
}
