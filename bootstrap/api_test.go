package bootstrap

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
)

// The whole daemon but for a guest to boot: its API is there, says why there is no
// machine, and goes when the daemon does while clients still watch.
func TestTheAPIIsServedWithoutAMachine(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	c, err := LoadConfig(nil, nil, map[string]any{"data_dir": t.TempDir(), "vm.boot": BootOnDemand, "network.dns_port": 0})
	require.NoError(t, err)
	require.NoError(t, makeDirs(c))
	app := fx.New(Options(c, testBuild(t), slog.New(slog.DiscardHandler)), fx.Supply(newEnding()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, app.Start(ctx))
	stop := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return app.Stop(ctx)
	}
	t.Cleanup(func() { _ = stop() }) // once more is no harm

	conn, err := grpc.NewClient("unix://"+c.paths().GRPCSocket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	system, machines, health := arcboxv1.NewSystemServiceClient(conn), arcboxv1.NewMachineServiceClient(conn), healthpb.NewHealthClient(conn)
	phases, err := system.WatchSetupStatus(ctx, &arcboxv1.WatchSetupStatusRequest{})
	require.NoError(t, err)
	for {
		st, err := phases.Recv()
		require.NoError(t, err)
		if st.Phase == arcboxv1.SetupPhase_SETUP_PHASE_FAILED {
			require.Contains(t, st.Error, "assets")
			break
		}
	}
	ready, err := health.Check(ctx, &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, ready.Status)

	list, err := machines.List(ctx, &arcboxv1.ListMachinesRequest{All: true})
	require.NoError(t, err)
	require.Len(t, list.Machines, 1)
	require.Equal(t, "default", list.Machines[0].Id)
	require.EqualValues(t, c.VM.CPUs, list.Machines[0].Cpus)
	_, err = machines.Ping(ctx, &arcboxv1.MachineAgentRequest{Id: "default"})
	require.Len(t, status.Convert(err).Details(), 3)
	info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
	require.True(t, ok)
	require.Equal(t, "NOT_RUNNING", info.Reason)

	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), drainTimeout)
	_, err = phases.Recv()
	require.ErrorIs(t, err, io.EOF)
	_, err = system.Ping(ctx, &arcboxv1.SystemPingRequest{})
	require.Error(t, err, "the socket is gone")
}
