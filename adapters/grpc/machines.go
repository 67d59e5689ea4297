package grpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"google.golang.org/grpc"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// MachineNetwork is where machines are on their network.
type MachineNetwork struct {
	// Guest are the machine's own addresses, the IPv4 one first.
	Guest []netip.Addr
	// Gateway is the host, and answers names.
	Gateway netip.Addr
}

// MachineService is arcbox.v1.MachineService for the machines of the roles.
type MachineService struct {
	arcboxv1.UnimplementedMachineServiceServer
	system  port.System
	records port.MachineStore
	network MachineNetwork
}

// NewMachineService serves the machines. Only records are read.
func NewMachineService(system port.System, records port.MachineStore, network MachineNetwork) *MachineService {
	return &MachineService{system: system, records: records, network: network}
}

// Register implements Service.
func (s *MachineService) Register(r grpc.ServiceRegistrar) {
	arcboxv1.RegisterMachineServiceServer(r, s)
}

// Start implements the method of that name.
func (s *MachineService) Start(ctx context.Context, req *arcboxv1.StartMachineRequest) (*arcboxv1.Empty, error) {
	role, err := roleOf(req.Id)
	if err != nil {
		return nil, err
	}
	return &arcboxv1.Empty{}, s.system.StartVM(ctx, role)
}

// Stop implements the method of that name.
func (s *MachineService) Stop(ctx context.Context, req *arcboxv1.StopMachineRequest) (*arcboxv1.Empty, error) {
	role, err := roleOf(req.Id)
	if err != nil {
		return nil, err
	}
	return &arcboxv1.Empty{}, s.system.StopVM(ctx, role, req.Force)
}

// List implements the method of that name.
func (s *MachineService) List(ctx context.Context, req *arcboxv1.ListMachinesRequest) (*arcboxv1.ListMachinesResponse, error) {
	out := &arcboxv1.ListMachinesResponse{}
	for _, role := range domain.Roles() {
		m, err := s.look(ctx, role)
		if errors.Is(err, domain.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if req.All || up(m.status.State) {
			out.Machines = append(out.Machines, s.summary(m))
		}
	}
	return out, nil
}

// Inspect implements the method of that name.
func (s *MachineService) Inspect(ctx context.Context, req *arcboxv1.InspectMachineRequest) (*arcboxv1.MachineInfo, error) {
	role, err := roleOf(req.Id)
	if err != nil {
		return nil, err
	}
	m, err := s.look(ctx, role)
	if err != nil {
		return nil, err
	}
	return s.info(m), nil
}

// Ping implements the method of that name. The agent's heartbeat answers: a
// machine whose agent is silent does not count as running.
func (s *MachineService) Ping(_ context.Context, req *arcboxv1.MachineAgentRequest) (*arcboxv1.MachinePingResponse, error) {
	status, err := s.running(req.Id)
	if err != nil {
		return nil, err
	}
	return &arcboxv1.MachinePingResponse{Message: "pong", Version: status.Hello.Version}, nil
}

// GetSystemInfo implements the method of that name.
func (s *MachineService) GetSystemInfo(_ context.Context, req *arcboxv1.MachineAgentRequest) (*arcboxv1.MachineSystemInfo, error) {
	status, err := s.running(req.Id)
	if err != nil {
		return nil, err
	}
	return &arcboxv1.MachineSystemInfo{KernelVersion: status.Hello.Kernel, OsName: "Linux", Arch: uname(),
		TotalMemory: status.Memory.Bytes(), CpuCount: uint32(status.CPUs), Uptime: uint64(max(0, time.Since(status.StartedAt)).Seconds()),
		IpAddresses: texts(s.network.Guest)}, nil
}

// running returns the state of a machine whose agent answers.
func (s *MachineService) running(id string) (domain.VMStatus, error) {
	role, err := roleOf(id)
	if err != nil {
		return domain.VMStatus{}, err
	}
	status := s.system.VM(role)
	if !status.State.Ready() {
		err := fmt.Errorf("machine %q is %s: %w", id, status.State, domain.ErrNotRunning)
		return domain.VMStatus{}, domain.WithHint(err, "MachineService.Start boots it, and so does any docker command")
	}
	return status, nil
}

// machine is all that is known of one.
type machine struct {
	role   domain.Role
	status domain.VMStatus
	record domain.Machine // zero before the first boot
}

// look returns domain.ErrNotFound for a machine that this host does not have.
func (s *MachineService) look(ctx context.Context, role domain.Role) (machine, error) {
	m := machine{role: role, status: s.system.VM(role)}
	// The default machine is there before it has ever booted.
	if role != domain.RoleNative && m.status.State == domain.StateNotExist {
		return m, noMachine(string(role.Machine()))
	}
	record, err := s.records.Load(ctx, role.Machine())
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return m, fmt.Errorf("the record of machine %q: %w", role.Machine(), err)
	}
	m.record = record
	return m, nil
}

// roleOf returns the role of the machine that a client names.
func roleOf(id string) (domain.Role, error) {
	name, err := domain.ParseMachineName(id)
	if err != nil {
		return "", err
	}
	for _, role := range domain.Roles() {
		if role.Machine() == name {
			return role, nil
		}
	}
	return "", noMachine(id)
}

func noMachine(id string) error {
	return domain.WithHint(fmt.Errorf("machine %q: %w", id, domain.ErrNotFound), "MachineService.List names the machines")
}

// up says whether there is a run, or one begins or ends.
func up(s domain.LifecycleState) bool {
	return s.Ready() || s.Booting() || s == domain.StateStopping
}

// uname is the guest's architecture, which is the host's, in the words of uname.
func uname() string {
	arch, err := domain.ArchFor(runtime.GOARCH)
	switch {
	case err != nil:
		return runtime.GOARCH
	case arch == domain.ArchARM64:
		return "aarch64"
	}
	return string(arch)
}

func texts(addrs []netip.Addr) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}
