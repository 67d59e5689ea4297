package grpc

import (
	"context"
	"os"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// APIVersion is the version of package arcbox.v1.
const APIVersion = "1.0"

// Build says what was built.
type Build struct{ Version, Commit, Time string }

// Paths are what GetInfo reports of the daemon's files.
type Paths struct{ DataDir, DockerSocket, GRPCSocket string }

// SystemService is arcbox.v1.SystemService.
type SystemService struct {
	arcboxv1.UnimplementedSystemServiceServer
	system  port.System
	pruning port.Pruning
	build   Build
	paths   Paths
	started time.Time
}

// NewSystemService serves the system use-case.
func NewSystemService(system port.System, pruning port.Pruning, build Build, paths Paths) *SystemService {
	return &SystemService{system: system, pruning: pruning, build: build, paths: paths, started: time.Now()}
}

// Register implements Service.
func (s *SystemService) Register(r grpc.ServiceRegistrar) { arcboxv1.RegisterSystemServiceServer(r, s) }

// GetVersion implements the method of that name.
func (s *SystemService) GetVersion(context.Context, *arcboxv1.GetVersionRequest) (*arcboxv1.GetVersionResponse, error) {
	return &arcboxv1.GetVersionResponse{Version: s.build.Version, ApiVersion: APIVersion, MinApiVersion: APIVersion,
		GitCommit: s.build.Commit, BuildTime: s.build.Time, Os: runtime.GOOS, Arch: runtime.GOARCH, GoVersion: runtime.Version()}, nil
}

// Ping implements the method of that name.
func (s *SystemService) Ping(context.Context, *arcboxv1.SystemPingRequest) (*arcboxv1.SystemPingResponse, error) {
	return &arcboxv1.SystemPingResponse{ApiVersion: APIVersion, BuildVersion: s.build.Version}, nil
}

// GetInfo implements the method of that name.
func (s *SystemService) GetInfo(context.Context, *arcboxv1.GetInfoRequest) (*arcboxv1.GetInfoResponse, error) {
	return &arcboxv1.GetInfoResponse{Pid: int64(os.Getpid()), StartedAt: timestamppb.New(s.started),
		DataDir: s.paths.DataDir, DockerSocket: s.paths.DockerSocket, GrpcSocket: s.paths.GRPCSocket,
		Setup: setupStatus(s.system.Setup()), Version: s.build.Version,
		Vms: []*arcboxv1.VmInfo{vmInfo(domain.RoleNative, s.system.VM(domain.RoleNative))}}, nil
}

// GetSetupStatus implements the method of that name.
func (s *SystemService) GetSetupStatus(context.Context, *arcboxv1.GetSetupStatusRequest) (*arcboxv1.SetupStatus, error) {
	return setupStatus(s.system.Setup()), nil
}

// WatchSetupStatus implements the method of that name.
func (s *SystemService) WatchSetupStatus(_ *arcboxv1.WatchSetupStatusRequest, stream grpc.ServerStreamingServer[arcboxv1.SetupStatus]) error {
	return s.system.WatchSetup(stream.Context(), func(st domain.SetupStatus) error { return stream.Send(setupStatus(st)) })
}

func setupStatus(s domain.SetupStatus) *arcboxv1.SetupStatus {
	return &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase(s.Phase), Message: s.Message, Error: s.Error, VmRunning: s.VMRunning,
		DnsResolverInstalled: s.DNSResolverInstalled, DockerSocketLinked: s.DockerSocketLinked,
		RouteInstalled: s.RouteInstalled, DockerToolsInstalled: s.DockerToolsInstalled}
}

func vmInfo(role domain.Role, v domain.VMStatus) *arcboxv1.VmInfo {
	info := &arcboxv1.VmInfo{Role: string(role), Machine: string(v.Machine), State: string(v.State), Reason: v.Reason,
		Generation: v.Generation, Cpus: uint32(v.CPUs), MemoryMib: uint64(v.Memory), Driver: v.Hypervisor.Driver,
		DriverVersion: v.Hypervisor.Version, Accelerator: string(v.Hypervisor.Accelerator), AcceleratorReason: v.Hypervisor.Reason,
		Kernel: v.Hello.Kernel, AgentVersion: v.Hello.Version, EngineReady: v.Guest.EngineReady,
		EngineVersion: v.Guest.EngineVersion, EngineApiVersion: v.Guest.EngineAPI}
	if !v.StartedAt.IsZero() {
		info.StartedAt = timestamppb.New(v.StartedAt)
	}
	info.Paused, info.Disk = v.Paused, diskUsage(v)
	for _, g := range v.Guest.Services {
		info.Services = append(info.Services, &arcboxv1.GuestService{Name: g.Name, State: string(g.State), Detail: g.Detail, Restarts: uint32(g.Restarts)})
	}
	return info
}
