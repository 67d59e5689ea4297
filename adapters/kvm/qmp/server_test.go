package qmp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

// server is QEMU's side of a connection, driven by a test.
type server struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// pair returns the two ends of a stream socket, like the one QEMU inherits.
func pair(t *testing.T) (net.Conn, *server) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	ends := make([]net.Conn, 2)
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "")
		ends[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.NoError(t, ends[1].SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { ends[1].Close() })
	return ends[0], &server{t, ends[1], bufio.NewReader(ends[1])}
}

func (s *server) send(format string, args ...any) {
	_, err := fmt.Fprintf(s.conn, format+"\r\n", args...)
	require.NoError(s.t, err)
}

func (s *server) receive() request {
	line, err := s.in.ReadBytes('\n')
	require.NoError(s.t, err)
	var r request
	require.NoError(s.t, json.Unmarshal(line, &r))
	return r
}

// connected returns a client after its handshake, and its server.
func connected(t *testing.T, o Options) (*Client, *server) {
	t.Helper()
	conn, s := pair(t)
	shaken := make(chan struct{})
	go func() {
		defer close(shaken)
		s.send(greeting)
		s.send(`{"return": {}, "id": %d}`, s.receive().ID)
	}()
	c, err := Connect(t.Context(), conn, o)
	<-shaken
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, s
}

// later runs f and returns a function that waits for its end.
func later(f func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return func() { <-done }
}
