//go:build linux

package guest

import (
	"io"
	"net"
	"testing"

	"github.com/mdlayher/vsock"
	"github.com/stretchr/testify/require"
)

type addressed struct {
	net.Conn
	from uint32
}

func (a addressed) RemoteAddr() net.Addr { return &vsock.Addr{ContextID: a.from, Port: 5} }

type queue struct {
	net.Listener
	conns []net.Conn
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := q.conns[0]
	q.conns = q.conns[1:]
	return c, nil
}

func TestOnlyTheHostIsLetIn(t *testing.T) {
	local, peer := net.Pipe()
	host, _ := net.Pipe()
	l := fromHost{&queue{conns: []net.Conn{addressed{local, 3}, addressed{host, vsock.Host}}}, vsock.Host}
	got, err := l.Accept()
	require.NoError(t, err)
	require.Equal(t, addressed{host, vsock.Host}, got)
	_, err = peer.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the other one must have been closed")
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}
