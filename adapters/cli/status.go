package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func (c *command) status() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show the virtual machine, its engine and its services",
		Long:    "Show the virtual machine, its engine and its services. The exit code is 3 when the daemon does not run.",
		Example: "  arcbox status\n  arcbox status --format '{{range .vms}}{{.machine}} {{.state}}{{\"\\n\"}}{{end}}'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, running, err := c.probe()
			if err != nil {
				return err
			}
			if !running {
				return domain.WithHint(errNotRunning, "arcbox daemon start")
			}
			c.warnOfSkew(cmd.Context(), s)
			in, err := info(cmd.Context(), s)
			if err != nil {
				return err
			}
			var states []string
			for _, vm := range in.Vms {
				states = append(states, vm.State)
			}
			return c.print(toStatus(in), func(w io.Writer) { statusTable(w, in) }, states...)
		},
	}
}

// statusOutput is the JSON of arcbox status.
type statusOutput struct {
	PID           int64      `json:"pid"`
	Version       string     `json:"version"`
	UptimeSeconds int64      `json:"uptime_seconds"`
	Phase         string     `json:"phase"`
	Error         string     `json:"error,omitempty"`
	DataDir       string     `json:"data_dir"`
	DockerSocket  string     `json:"docker_socket"`
	GRPCSocket    string     `json:"grpc_socket"`
	VMs           []vmOutput `json:"vms"`
}

type vmOutput struct {
	Role              string          `json:"role"`
	Machine           string          `json:"machine"`
	State             string          `json:"state"`
	Reason            string          `json:"reason,omitempty"`
	UptimeSeconds     int64           `json:"uptime_seconds"`
	Generation        uint64          `json:"generation"`
	CPUs              uint32          `json:"cpus"`
	MemoryMiB         uint64          `json:"memory_mib"`
	Driver            string          `json:"driver,omitempty"`
	DriverVersion     string          `json:"driver_version,omitempty"`
	Accelerator       string          `json:"accelerator,omitempty"`
	AcceleratorReason string          `json:"accelerator_reason,omitempty"`
	Kernel            string          `json:"kernel,omitempty"`
	AgentVersion      string          `json:"agent_version,omitempty"`
	EngineReady       bool            `json:"engine_ready"`
	EngineVersion     string          `json:"engine_version,omitempty"`
	EngineAPIVersion  string          `json:"engine_api_version,omitempty"`
	Services          []serviceOutput `json:"services"`
	Paused            string          `json:"paused,omitempty"`
	Disk              *diskOutput     `json:"disk,omitempty"`
}

type serviceOutput struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Detail   string `json:"detail,omitempty"`
	Restarts uint32 `json:"restarts"`
}

func toStatus(in *arcboxv1.GetInfoResponse) statusOutput {
	out := statusOutput{PID: in.Pid, Version: in.Version, UptimeSeconds: since(in.StartedAt), Phase: domain.SetupPhase(in.Setup.GetPhase()).String(),
		Error: in.Setup.GetError(), DataDir: in.DataDir, DockerSocket: in.DockerSocket, GRPCSocket: in.GrpcSocket}
	for _, vm := range in.Vms {
		v := vmOutput{Role: vm.Role, Machine: vm.Machine, State: vm.State, Reason: vm.Reason, UptimeSeconds: since(vm.StartedAt), Generation: vm.Generation,
			CPUs: vm.Cpus, MemoryMiB: vm.MemoryMib, Driver: vm.Driver, DriverVersion: vm.DriverVersion, Accelerator: vm.Accelerator,
			AcceleratorReason: vm.AcceleratorReason, Kernel: vm.Kernel, AgentVersion: vm.AgentVersion, EngineReady: vm.EngineReady,
			EngineVersion: vm.EngineVersion, EngineAPIVersion: vm.EngineApiVersion, Services: []serviceOutput{}}
		v.Paused, v.Disk = vm.Paused, toDisk(vm.Disk)
		for _, g := range vm.Services {
			v.Services = append(v.Services, serviceOutput{Name: g.Name, State: g.State, Detail: g.Detail, Restarts: g.Restarts})
		}
		out.VMs = append(out.VMs, v)
	}
	return out
}

// since is in seconds, 0 for what has not begun.
func since(t *timestamppb.Timestamp) int64 {
	if t == nil {
		return 0
	}
	return int64(time.Since(t.AsTime()).Seconds())
}

func statusTable(w io.Writer, in *arcboxv1.GetInfoResponse) {
	row(w, "daemon", fmt.Sprintf("%s, process %d, up %s", in.Version, in.Pid, seconds(time.Since(in.StartedAt.AsTime()))))
	row(w, "phase", domain.SetupPhase(in.Setup.GetPhase()))
	if e := in.Setup.GetError(); e != "" {
		row(w, "error", e)
	}
	row(w, "docker", "unix://"+in.DockerSocket)
	for _, vm := range in.Vms {
		row(w, "vm "+vm.Machine, vm.State)
		if vm.Reason != "" {
			row(w, "  reason", vm.Reason)
		}
		diskRows(w, vm)
		if vm.StartedAt == nil {
			continue
		}
		row(w, "  up", seconds(time.Since(vm.StartedAt.AsTime())))
		row(w, "  size", fmt.Sprintf("%d CPUs, %d MiB", vm.Cpus, vm.MemoryMib))
		row(w, "  runs on", fmt.Sprintf("%s %s, %s", vm.Driver, vm.DriverVersion, vm.Accelerator))
		if vm.AcceleratorReason != "" {
			row(w, "  because", vm.AcceleratorReason)
		}
		row(w, "  kernel", vm.Kernel)
		for _, g := range vm.Services {
			text := g.State
			if g.Restarts > 0 {
				text += fmt.Sprintf(" (%d restarts)", g.Restarts)
			}
			if g.Detail != "" {
				text += ": " + g.Detail
			}
			row(w, "  "+g.Name, text)
		}
		if vm.EngineVersion != "" {
			row(w, "  engine", fmt.Sprintf("Docker %s, API %s", vm.EngineVersion, vm.EngineApiVersion))
		}
	}
}
