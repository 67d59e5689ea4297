package rpc

import (
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

type forwardsClient = grpc.BidiStreamingClient[agentv1.ForwardsRequest, agentv1.ForwardsResponse]

// openForwards opens a stream and reads what comes first.
func openForwards(t *testing.T, f *fixture) forwardsClient {
	t.Helper()
	s, err := f.client.Forwards(t.Context())
	require.NoError(t, err)
	m, err := s.Recv()
	require.NoError(t, err)
	require.NotNil(t, m.GetSnapshot())
	m, err = s.Recv()
	require.NoError(t, err)
	require.NotNil(t, m.GetListeners())
	return s
}

func TestAPortIsBoundAndReleasedOverTheStream(t *testing.T) {
	f := start(t)
	f.ports.SetListeners([]domain.GuestListener{{
		Container: "c", Protocol: domain.UDP, Addr: netip.MustParseAddrPort("[::]:53"), DualStack: true,
	}})
	s, err := f.client.Forwards(t.Context())
	require.NoError(t, err)
	_, err = s.Recv()
	require.NoError(t, err)
	m, err := s.Recv()
	require.NoError(t, err)
	l := m.GetListeners().GetListeners()
	require.Len(t, l, 1)
	require.Equal(t, agentv1.ForwardProtocol_FORWARD_PROTOCOL_UDP, l[0].Protocol)
	require.EqualValues(t, 53, l[0].Port)
	require.True(t, l[0].DualStack)
	require.Equal(t, make([]byte, 16), l[0].Ip)

	rule := domain.ForwardRule{Protocol: domain.TCP, Host: netip.MustParseAddrPort("127.0.0.1:8080"), Target: netip.MustParseAddrPort("[fd00::2]:80")}
	result := make(chan error, 1)
	id := make(chan string, 1)
	go func() {
		i, err := f.ports.Bind(t.Context(), rule)
		id <- i
		result <- err
	}()
	m, err = s.Recv()
	require.NoError(t, err)
	b := m.GetBind()
	require.NotNil(t, b)
	require.Equal(t, []byte{127, 0, 0, 1}, b.HostIp)
	require.EqualValues(t, 8080, b.HostPort)
	require.Len(t, b.ContainerIp, 16)
	require.EqualValues(t, 80, b.ContainerPort)
	require.NoError(t, s.Send(&agentv1.ForwardsRequest{})) // of a newer host
	require.NoError(t, s.Send(&agentv1.ForwardsRequest{Event: &agentv1.ForwardsRequest_Answer{Answer: &agentv1.ForwardAnswer{Id: b.Id}}}))
	require.Equal(t, b.Id, <-id)
	require.NoError(t, <-result)

	go func() { result <- f.ports.Release(t.Context(), b.Id) }()
	m, err = s.Recv()
	require.NoError(t, err)
	require.Equal(t, b.Id, m.GetRelease().GetId())
	require.NoError(t, s.Send(&agentv1.ForwardsRequest{Event: &agentv1.ForwardsRequest_Released{Released: &agentv1.ForwardReleased{Id: b.Id}}}))
	require.NoError(t, <-result)
}

func TestASecondStreamEndsTheFirst(t *testing.T) {
	f := start(t)
	first := openForwards(t, f)
	openForwards(t, f)
	_, err := first.Recv()
	require.Equal(t, codes.Aborted, status.Code(err))
}

func TestTheEndOfTheServerEndsTheStream(t *testing.T) {
	f := start(t)
	s := openForwards(t, f)
	f.end()
	_, err := s.Recv()
	require.ErrorIs(t, err, io.EOF)
}
