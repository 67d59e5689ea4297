package netfwd

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser/vhosttest"
)

// plugCard connects where a hypervisor that inherits a duplicate of l's file
// would, and returns the guest's side: a datagram socket of frames.
func plugCard(t testing.TB, l *Link) *net.UnixConn {
	fd, err := unix.Dup(int(l.File().Fd()))
	require.NoError(t, err)
	defer unix.Close(fd)
	c, err := net.Dial("unix", "/proc/self/fd/"+strconv.Itoa(fd))
	require.NoError(t, err)
	frames, guests, err := socketPair(1 << 20)
	require.NoError(t, err)
	card := vhosttest.PlugCard(t, c.(*net.UnixConn), frames)
	t.Cleanup(card.Close)
	return connOf(t, guests)
}

// TestSocketIsHidden: nobody finds the card's socket by a name.
func TestSocketIsHidden(t *testing.T) {
	l := open(t, Options{})
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(l.File().Fd()), &st))
	require.Equal(t, uint32(unix.S_IFSOCK), st.Mode&unix.S_IFMT)
	require.Zero(t, st.Nlink)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestBrokenProtocolIsLogged: the machine goes on without a network, and somebody must be able to see why.
func TestBrokenProtocolIsLogged(t *testing.T) {
	var log syncBuffer
	l := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	c, err := net.Dial("unix", "/proc/self/fd/"+strconv.Itoa(int(l.File().Fd())))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write(make([]byte, 12)) // of no version
	require.NoError(t, err)
	require.Eventually(t, func() bool { return log.String() != "" }, 5*time.Second, time.Millisecond)
	require.Regexp(t, `machine=default.*protocol version`, log.String())
}
