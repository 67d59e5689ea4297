package grpc

import (
	"context"
	"io"
	"os"
	"testing"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	f.close(t)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF, "a shutdown is the end of the stream, no failure")
}
