package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	system *mock.MockSystem
	prune  pruneFunc
	client arcboxv1.SystemServiceClient
	server *Server
	close  context.CancelFunc
	path   string
}

func serve(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{system: mock.NewMockSystem(gomock.NewController(t)), path: filepath.Join(t.TempDir(), "arcbox.sock")}
	var closing context.Context
	closing, f.close = context.WithCancel(context.Background())
	t.Cleanup(f.close)
	svc := NewSystemService(closing, f.system, pruneFunc(func(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error) { return f.prune(ctx, o) }), Build{Version: "1.2.3", Commit: "abc"}, Paths{DataDir: "/d", DockerSocket: "/d/run/docker.sock"})
	f.server = NewServer(f.path, []Service{svc}, slog.New(slog.DiscardHandler))
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.path, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false) // as a dead daemon
	require.NoError(t, left.Close())
	require.NoError(t, f.server.Start(t.Context()))
	conn, err := grpc.NewClient("unix://"+f.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	f.client = arcboxv1.NewSystemServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = f.server.Close(ctx)
	})
	return f
}

func TestInfoTellsDaemonAndMachine(t *testing.T) {
	f := serve(t)
	f.system.EXPECT().Setup().Return(domain.SetupStatus{Phase: domain.PhaseReady, VMRunning: true}).AnyTimes()
	f.system.EXPECT().VM(domain.RoleNative).Return(domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateRunning, Generation: 2,
		Hypervisor: domain.HypervisorInfo{Driver: "qemu", Accelerator: domain.AcceleratorTCG, Reason: "no /dev/kvm"},
		Guest:      domain.GuestStatus{EngineReady: true, Services: []domain.ServiceStatus{{Name: "dockerd", State: domain.ServiceReady}}}})
	info, err := f.client.GetInfo(t.Context(), &arcboxv1.GetInfoRequest{})
	require.NoError(t, err)
	require.Equal(t, int64(os.Getpid()), info.Pid)
	require.Equal(t, arcboxv1.SetupPhase_SETUP_PHASE_READY, info.Setup.Phase)
	require.Len(t, info.Vms, 1)
	require.Equal(t, "running", info.Vms[0].State)
	require.Equal(t, "no /dev/kvm", info.Vms[0].AcceleratorReason)
	require.Equal(t, "dockerd", info.Vms[0].Services[0].Name)
	st, err := os.Stat(f.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
}

func TestWatchDeliversEveryUpdateAndEndsCleanlyAtShutdown(t *testing.T) {
	f := serve(t)
	updates := []domain.SetupStatus{{Phase: domain.PhaseVMReady}, {Phase: domain.PhaseNetworkReady}, {Phase: domain.PhaseReady}}
	f.system.EXPECT().WatchSetup(gomock.Any(), gomock.Any()).DoAndReturn(func(ctx context.Context, send func(domain.SetupStatus) error) error {
		for _, u := range updates {
			if err := send(u); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	})
	stream, err := f.client.WatchSetupStatus(t.Context(), &arcboxv1.WatchSetupStatusRequest{})
	require.NoError(t, err)
	for _, u := range updates {
		got, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, int32(u.Phase), int32(got.Phase))
	}
	f.close()
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF, "a shutdown is the end of the stream, no failure")
}

func TestErrorsKeepTheirKindReasonAndHint(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason string
	}{
		{fmt.Errorf("machine %q: %w", "x", domain.ErrNotFound), codes.NotFound, "NOT_FOUND"},
		{domain.ErrNotRunning, codes.Unavailable, "UNAVAILABLE"},
		{domain.ErrProtocol, codes.FailedPrecondition, "INVALID_STATE"},
		{domain.ErrChecksum, codes.DataLoss, "CORRUPT"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT"},
		{errors.New("odd"), codes.Internal, "INTERNAL"},
	} {
		st := status.Convert(toStatus(domain.WithHint(c.err, "do this")))
		require.Equal(t, c.code, st.Code(), c.err)
		info, ok := st.Details()[0].(*errdetails.ErrorInfo)
		require.True(t, ok)
		require.Equal(t, c.reason, info.Reason)
		require.Equal(t, "do this", info.Metadata["hint"])
	}
	require.NoError(t, toStatus(nil))
}
