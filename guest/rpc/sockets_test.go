package rpc

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

type socketsClient = grpc.BidiStreamingClient[agentv1.SocketsRequest, agentv1.SocketsResponse]

// serveSockets has the fixture's sockets answer until the test ends.
func serveSockets(t *testing.T, f *fixture) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.sockets.Serve(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// clientOf connects until the server hears of it: the stream is attached at
// some time after it was opened.
func clientOf(t *testing.T, path string, s socketsClient) (net.Conn, *agentv1.SocketsResponse) {
	t.Helper()
	heard := make(chan *agentv1.SocketsResponse, 1)
	go func() {
		m, _ := s.Recv()
		heard <- m
	}()
	for {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, _ = c.Read(make([]byte, 1))
		}()
		select {
		case m := <-heard:
			require.NotNil(t, m)
			_ = c.SetReadDeadline(time.Now())
			<-ended
			require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
			return c, m
		case <-ended:
		}
	}
}

func TestSocketsOverTheStream(t *testing.T) {
	f := start(t)
	serveSockets(t, f)
	service := filepath.Join(f.dir, "ssh.sock")
	require.NoError(t, f.sockets.SetServices([]domain.GuestSocket{{Service: "ssh-agent", Path: service}}))
	_, err := f.client.OfferSocket(t.Context(), &agentv1.OfferSocketRequest{HostPath: "/home/me/a"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "before the disk is there")
	require.NoError(t, f.sockets.Load(filepath.Join(f.dir, "offers")))
	_, err = f.client.OfferSocket(t.Context(), &agentv1.OfferSocketRequest{HostPath: "../a"})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	offer, err := f.client.OfferSocket(t.Context(), &agentv1.OfferSocketRequest{HostPath: "/home/me/a"})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(offer.GuestPath, "/sockets/home/me/a"))

	s, err := f.client.Sockets(t.Context())
	require.NoError(t, err)
	c, m := clientOf(t, service, s)
	require.Equal(t, "ssh-agent", m.GetService())
	require.NoError(t, s.Send(&agentv1.SocketsRequest{})) // of a newer host
	require.NoError(t, s.Send(&agentv1.SocketsRequest{Refused: m.Connection, Reason: "no agent"}))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)

	c, m = clientOf(t, offer.GuestPath, s)
	require.Equal(t, "/home/me/a", m.GetHostPath())
	host := f.sockets.Take(m.Connection)
	require.NotNil(t, host)
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(host, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, host.Close())

	second, err := f.client.Sockets(t.Context())
	require.NoError(t, err)
	_, err = s.Recv()
	require.Equal(t, codes.Aborted, status.Code(err), "a second stream ends the first")
	_, m = clientOf(t, service, second)
	require.NotEmpty(t, m.Connection)
	f.end()
	_, err = second.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestTheCodesOfOffers(t *testing.T) {
	for err, want := range map[error]codes.Code{
		domain.ErrInvalid: codes.InvalidArgument, domain.ErrInvalidState: codes.FailedPrecondition,
		domain.ErrConflict: codes.ResourceExhausted, io.ErrShortWrite: codes.Internal,
	} {
		require.Equal(t, want, socketCode(err))
	}
}
