package grpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func TestHealthFollowsTheStart(t *testing.T) {
	f := serve(t)
	client := healthpb.NewHealthClient(f.conn)
	for name := range f.server.server.GetServiceInfo() {
		one, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, one.Status, name)
	}
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	next := func() healthpb.HealthCheckResponse_ServingStatus {
		got, err := watch.Recv()
		require.NoError(t, err)
		return got.Status
	}
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next(), "not before it is ready")
	f.setup <- domain.SetupStatus{Phase: domain.PhaseVMReady}
	f.setup <- domain.SetupStatus{Phase: domain.PhaseReady}
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, next())
	f.setup <- domain.SetupStatus{Phase: domain.PhaseDegraded}
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, next())
	f.setup <- domain.SetupStatus{Phase: domain.PhaseReady}
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, next())
	f.close(t)
	for {
		got, err := watch.Recv()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return
		}
		require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.Status)
	}
}

// watches is a Setup whose watches return one of these after the other.
type watches chan error

func (w watches) WatchSetup(ctx context.Context, f func(domain.SetupStatus) error) error {
	_ = f(domain.SetupStatus{Phase: domain.PhaseReady})
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestHealthOutlivesAWatchThatFellBehindAndNoOther(t *testing.T) {
	w := make(watches)
	s := NewServer(filepath.Join(t.TempDir(), "a.sock"), nil, w, slog.New(slog.DiscardHandler))
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	health := func() healthpb.HealthCheckResponse_ServingStatus {
		got, err := s.health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		return got.Status
	}
	w <- domain.ErrUnavailable
	w <- domain.ErrUnavailable // so there was a second watch
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, health())
	w <- errors.New("odd")
	require.Eventually(t, func() bool { return health() == healthpb.HealthCheckResponse_UNKNOWN }, 5*time.Second, time.Millisecond)
}

func TestReflectionShowsTheAPIAndEndsWithTheDaemon(t *testing.T) {
	f := serve(t)
	stream, err := reflectionpb.NewServerReflectionClient(f.conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, s := range answer.GetListServicesResponse().Service {
		names = append(names, s.Name)
	}
	require.Subset(t, names, []string{"arcbox.v1.SystemService", "arcbox.v1.MachineService", "arcbox.v1.KubernetesService",
		"arcbox.v1.MigrationService", "arcbox.v1.StatsService", "arcbox.v1.IconService", "sandbox.v1.SandboxService",
		"sandbox.v1.SandboxSnapshotService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"})
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "arcbox.v1.MachineService"}}))
	answer, err = stream.Recv()
	require.NoError(t, err)
	require.NotEmpty(t, answer.GetFileDescriptorResponse().GetFileDescriptorProto())
	f.close(t) // the client could ask on
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestEventsAreFilteredAndNoLossIsHidden(t *testing.T) {
	f := serve(t)
	sent := []struct {
		e      domain.Event
		missed int
	}{
		{domain.Event{Kind: domain.EventMachineStarted, Machine: "default"}, 0},
		{domain.Event{Kind: domain.EventEngineReady, Machine: "default"}, 300},
		{domain.Event{Kind: domain.EventMachineStarted, Machine: "other"}, 4},
		{domain.Event{Kind: domain.EventMachineStarted, Machine: "default", Detail: "again"}, 0},
		{domain.Event{Kind: domain.EventMachineStarted, Machine: "default"}, 0},
	}
	f.system.EXPECT().Watch(gomock.Any(), gomock.Any()).DoAndReturn(func(ctx context.Context, tell func(domain.Event, int) error) error {
		for _, s := range sent {
			if err := tell(s.e, s.missed); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}).Times(2)
	receive := func(n int, filters map[string]string) (missed []uint32) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := f.client.Events(ctx, &arcboxv1.EventsRequest{Filters: filters})
		require.NoError(t, err)
		for range n {
			e, err := stream.Recv()
			require.NoError(t, err)
			missed = append(missed, e.Missed)
		}
		return missed
	}
	require.Equal(t, []uint32{0, 300, 4, 0, 0}, receive(5, nil))
	require.Equal(t, []uint32{0, 304, 0}, receive(3, map[string]string{"kind": "machine.started", "machine": "default"}))

	stream, err := f.client.Events(t.Context(), &arcboxv1.EventsRequest{Filters: map[string]string{"color": "red"}})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, "INVALID_ARGUMENT", reason(t, err))
}

func TestAWatcherOfTheStartThatFellBehindIsTold(t *testing.T) {
	f := serve(t)
	f.system.EXPECT().WatchSetup(gomock.Any(), gomock.Any()).Return(errors.Join(errors.New("lost 9 updates"), domain.ErrUnavailable))
	stream, err := f.client.WatchSetupStatus(t.Context(), &arcboxv1.WatchSetupStatusRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "lost 9 updates")
}

// A client that opens a stream and says nothing, or does not read what it gets,
// holds up no shutdown for longer than it is given.
func TestAClientThatDoesNotReadIsDropped(t *testing.T) {
	f := serve(t)
	full := make(chan struct{})
	f.system.EXPECT().Watch(gomock.Any(), gomock.Any()).DoAndReturn(func(_ context.Context, tell func(domain.Event, int) error) error {
		for n := 0; ; n++ {
			if n == 1 {
				close(full)
			}
			if err := tell(domain.Event{Detail: string(make([]byte, 1<<20))}, 0); err != nil {
				return err
			}
		}
	})
	silent, err := f.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/arcbox.v1.SystemService/Events")
	require.NoError(t, err)
	_, err = f.client.Events(t.Context(), &arcboxv1.EventsRequest{})
	require.NoError(t, err)
	<-full
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	f.closed.Do(func() { require.NoError(t, f.server.Close(ctx)) })
	require.Less(t, time.Since(began), patience)
	require.Error(t, silent.RecvMsg(&arcboxv1.Event{}))
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	f := serve(t)
	stream, err := f.client.Events(t.Context(), &arcboxv1.EventsRequest{Filters: map[string]string{"kind": string(make([]byte, maxRequest))}})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}
