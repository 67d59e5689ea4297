package grpc

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

var testNetwork = MachineNetwork{Gateway: netip.MustParseAddr("10.0.2.1"),
	Guest: []netip.Addr{netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd0a:bc::2")}}

func running() domain.VMStatus {
	return domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateRunning, CPUs: 3, Memory: 2048, StartedAt: time.Now().Add(-time.Minute),
		Hello: domain.AgentHello{Version: "1.2.3", Kernel: "7.0.1"}, Image: domain.DiskImage{Size: 64 << 30}}
}

func serveMachines(t *testing.T) (*fixture, arcboxv1.MachineServiceClient) {
	t.Helper()
	m := newFixture(t)
	f := serveServices(t, m.services()...)
	f.system, f.machines = m.system, m.machines
	// As on every host but a Mac with Apple silicon.
	f.system.EXPECT().VM(domain.RoleRosetta).Return(domain.VMStatus{Machine: domain.RosettaMachine, State: domain.StateNotExist}).AnyTimes()
	return f, arcboxv1.NewMachineServiceClient(f.conn)
}

func record() domain.Machine {
	return domain.Machine{Name: domain.DefaultMachine, Disk: 50, CreatedAt: time.Unix(1700000000, 0),
		Disks: []domain.Disk{{Path: "/d/rootfs.erofs", ReadOnly: true}, {Path: "/d/docker.img"}}}
}

func TestMachinesAreListed(t *testing.T) {
	f, client := serveMachines(t)
	for _, c := range []struct {
		name   string
		status domain.VMStatus
		all    bool
		want   *arcboxv1.MachineSummary
	}{
		{"running", running(), false, &arcboxv1.MachineSummary{Id: "default", Name: "default", State: "running", Cpus: 3,
			Memory: 2 << 30, DiskSize: 64 << 30, IpAddress: "10.0.2.2", Created: 1700000000}},
		{"down", domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateStopped}, false, nil},
		{"down, all", domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateStopped, CPUs: 2}, true,
			&arcboxv1.MachineSummary{Id: "default", Name: "default", State: "stopped", Cpus: 2, DiskSize: 50 << 30, Created: 1700000000}},
		{"booting", domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateStarting}, false,
			&arcboxv1.MachineSummary{Id: "default", Name: "default", State: "starting", DiskSize: 50 << 30, Created: 1700000000}},
	} {
		f.system.EXPECT().VM(domain.RoleNative).Return(c.status)
		f.machines.EXPECT().Load(gomock.Any(), domain.DefaultMachine).Return(record(), nil)
		list, err := client.List(t.Context(), &arcboxv1.ListMachinesRequest{All: c.all})
		require.NoError(t, err, c.name)
		if c.want == nil {
			require.Empty(t, list.Machines, c.name)
			continue
		}
		require.Len(t, list.Machines, 1, c.name)
		require.Equal(t, c.want.String(), list.Machines[0].String(), c.name)
	}
}

func TestAMachineIsInspectedWhole(t *testing.T) {
	f, client := serveMachines(t)
	f.system.EXPECT().VM(domain.RoleNative).Return(running())
	f.machines.EXPECT().Load(gomock.Any(), domain.DefaultMachine).Return(record(), nil)
	m, err := client.Inspect(t.Context(), &arcboxv1.InspectMachineRequest{Id: "default"})
	require.NoError(t, err)
	require.Equal(t, []any{"default", "running", uint32(3), uint64(2 << 30), "10.0.2.2", "10.0.2.1", "/d/docker.img", "7.0.1", int64(1700000000)},
		[]any{m.Id, m.State, m.Hardware.Cpus, m.Hardware.Memory, m.Network.IpAddress, m.Network.Gateway, m.Storage.DiskPath, m.Os.Kernel, m.Created.Seconds})
	require.NotEmpty(t, m.Hardware.Arch)
	require.NotNil(t, m.StartedAt)
}

func TestTheDefaultMachineIsThereBeforeItsFirstBoot(t *testing.T) {
	f, client := serveMachines(t)
	f.system.EXPECT().VM(domain.RoleNative).Return(domain.VMStatus{Machine: domain.DefaultMachine, State: domain.StateNotExist})
	f.machines.EXPECT().Load(gomock.Any(), domain.DefaultMachine).Return(domain.Machine{}, domain.ErrNotFound)
	m, err := client.Inspect(t.Context(), &arcboxv1.InspectMachineRequest{Id: "default"})
	require.NoError(t, err)
	require.Equal(t, "not_exist", m.State)
	require.Nil(t, m.Created)
	require.Empty(t, m.Network.IpAddress)
}

func TestTheAgentOfAMachineIsAsked(t *testing.T) {
	f, client := serveMachines(t)
	f.system.EXPECT().VM(domain.RoleNative).Return(running()).Times(2)
	pong, err := client.Ping(t.Context(), &arcboxv1.MachineAgentRequest{Id: "default"})
	require.NoError(t, err)
	require.Equal(t, []string{"pong", "1.2.3"}, []string{pong.Message, pong.Version})
	in, err := client.GetSystemInfo(t.Context(), &arcboxv1.MachineAgentRequest{Id: "default"})
	require.NoError(t, err)
	require.Equal(t, []any{"7.0.1", "Linux", uint64(2 << 30), uint32(3), []string{"10.0.2.2", "fd0a:bc::2"}},
		[]any{in.KernelVersion, in.OsName, in.TotalMemory, in.CpuCount, in.IpAddresses})
	require.InDelta(t, 60, in.Uptime, 30)

	f.system.EXPECT().VM(domain.RoleNative).Return(domain.VMStatus{State: domain.StateStopped})
	_, err = client.Ping(t.Context(), &arcboxv1.MachineAgentRequest{Id: "default"})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "NOT_RUNNING", reason(t, err))
	require.Contains(t, detail[*errdetails.LocalizedMessage](t, err).Message, "Start")
}

func TestAMachineIsStartedAndStopped(t *testing.T) {
	f, client := serveMachines(t)
	gomock.InOrder(
		f.system.EXPECT().StartVM(gomock.Any(), domain.RoleNative).Return(nil),
		f.system.EXPECT().StopVM(gomock.Any(), domain.RoleNative, false).Return(nil),
		f.system.EXPECT().StopVM(gomock.Any(), domain.RoleNative, true).Return(fmt.Errorf("qemu: %w", domain.ErrTimeout)),
		f.system.EXPECT().StartVM(gomock.Any(), domain.RoleRosetta).Return(domain.ErrUnsupported),
	)
	_, err := client.Start(t.Context(), &arcboxv1.StartMachineRequest{Id: "default"})
	require.NoError(t, err)
	_, err = client.Stop(t.Context(), &arcboxv1.StopMachineRequest{Id: "default"})
	require.NoError(t, err)
	_, err = client.Stop(t.Context(), &arcboxv1.StopMachineRequest{Id: "default", Force: true})
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	_, err = client.Start(t.Context(), &arcboxv1.StartMachineRequest{Id: "rosetta"})
	require.Equal(t, "UNSUPPORTED", reason(t, err))
}

func TestMachinesThatAreNotThere(t *testing.T) {
	f, client := serveMachines(t)
	for id, code := range map[string]codes.Code{"dev": codes.NotFound, "rosetta": codes.NotFound, "": codes.InvalidArgument, "../x": codes.InvalidArgument} {
		_, err := client.Inspect(t.Context(), &arcboxv1.InspectMachineRequest{Id: id})
		require.Equal(t, code, status.Code(err), id)
	}
	for _, err := range []error{
		second(client.Start(t.Context(), &arcboxv1.StartMachineRequest{Id: "dev"})),
		second(client.Stop(t.Context(), &arcboxv1.StopMachineRequest{Id: "dev"})),
		second(client.Ping(t.Context(), &arcboxv1.MachineAgentRequest{Id: "dev"})),
		second(client.GetSystemInfo(t.Context(), &arcboxv1.MachineAgentRequest{Id: "dev"})),
	} {
		require.Equal(t, codes.NotFound, status.Code(err))
	}
	f.system.EXPECT().VM(domain.RoleNative).Return(running()).Times(2)
	f.machines.EXPECT().Load(gomock.Any(), domain.DefaultMachine).Return(domain.Machine{}, domain.ErrCorrupt).Times(2)
	_, err := client.Inspect(t.Context(), &arcboxv1.InspectMachineRequest{Id: "default"})
	require.Equal(t, codes.DataLoss, status.Code(err))
	_, err = client.List(t.Context(), &arcboxv1.ListMachinesRequest{})
	require.Equal(t, codes.DataLoss, status.Code(err))
}

func second[A any](_ A, err error) error { return err }

// A client that waits for a boot does not keep the daemon from stopping.
func TestAStartEndsWithTheDaemon(t *testing.T) {
	f, client := serveMachines(t)
	begun := make(chan struct{})
	f.system.EXPECT().StartVM(gomock.Any(), domain.RoleNative).DoAndReturn(func(ctx context.Context, _ domain.Role) error {
		close(begun)
		<-ctx.Done()
		return fmt.Errorf("waiting for the virtual machine: %w: %w", domain.ErrCanceled, ctx.Err())
	})
	started := make(chan error, 1)
	go func() {
		_, err := client.Start(context.Background(), &arcboxv1.StartMachineRequest{Id: "default"})
		started <- err
	}()
	<-begun
	f.close(t)
	err := <-started
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "SHUTTING_DOWN", reason(t, err))
}
