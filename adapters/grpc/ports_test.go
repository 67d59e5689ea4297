package grpc

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

func servePorts(t *testing.T) (*mock.MockForwards, arcboxv1.PortServiceClient, *fixture) {
	t.Helper()
	forwards := mock.NewMockForwards(gomock.NewController(t))
	f := serveServices(t, NewPortService(forwards))
	return forwards, arcboxv1.NewPortServiceClient(f.conn), f
}

func forward(state domain.ForwardState) domain.ForwardStatus {
	return domain.ForwardStatus{State: state, Container: "web", Reason: "because", Since: time.Unix(9, 0),
		Rule:  domain.ForwardRule{Protocol: domain.UDP, Owner: "c1", Host: netip.MustParseAddrPort("[::]:53"), Target: netip.MustParseAddrPort("172.17.0.2:5353")},
		Stats: domain.ForwardStats{Flows: 1, Total: 2, Limited: 3, Failed: 4, In: 5, Out: 6}}
}

func TestPortsAreListedWhole(t *testing.T) {
	forwards, client, _ := servePorts(t)
	forwards.EXPECT().Forwards().Return([]domain.ForwardStatus{forward(domain.ForwardConflict)})
	list, err := client.List(t.Context(), &arcboxv1.ListPortsRequest{})
	require.NoError(t, err)
	require.Len(t, list.Ports, 1)
	p := list.Ports[0]
	require.Equal(t, []any{"c1", "web", "udp", "::", uint32(53), "172.17.0.2", uint32(5353), "conflict", "because", int64(9)},
		[]any{p.ContainerId, p.ContainerName, p.Protocol, p.HostIp, p.HostPort, p.TargetIp, p.TargetPort, p.State, p.Reason, p.Since.Seconds})
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 6}, []uint64{p.Flows, p.TotalFlows, p.LimitedFlows, p.FailedFlows, p.BytesIn, p.BytesOut})

	forwards.EXPECT().Forwards().Return(nil)
	list, err = client.List(t.Context(), &arcboxv1.ListPortsRequest{})
	require.NoError(t, err)
	require.Empty(t, list.Ports)
}

func TestPortsAreWatchedUntilTheDaemonStops(t *testing.T) {
	forwards, client, f := servePorts(t)
	forwards.EXPECT().WatchForwards(gomock.Any(), gomock.Any()).DoAndReturn(func(ctx context.Context, tell func([]domain.ForwardStatus) error) error {
		for _, list := range [][]domain.ForwardStatus{nil, {forward(domain.ForwardActive)}} {
			if err := tell(list); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	})
	stream, err := client.Watch(t.Context(), &arcboxv1.WatchPortsRequest{})
	require.NoError(t, err)
	for n := range 2 {
		list, err := stream.Recv()
		require.NoError(t, err)
		require.Len(t, list.Ports, n)
	}
	f.close(t)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}
