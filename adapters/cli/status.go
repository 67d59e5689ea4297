package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func (c *command) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the virtual machine, its engine and its services",
		Long:  "Show the virtual machine, its engine and its services. The exit code is 3 when the daemon does not run.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, running, err := c.probe()
			if err != nil {
				return err
			}
			if !running {
				return domain.WithHint(errNotRunning, "arcbox daemon start")
			}
			in, err := info(cmd.Context(), s)
			if err != nil {
				return err
			}
			if c.format == formatJSON {
				data, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true, Indent: "  "}.Marshal(in)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.deps.Stdout, "%s\n", data)
				return err
			}
			return c.print(nil, func(w io.Writer) { statusTable(w, in) })
		},
	}
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
