package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

// The daemon gives its machines 30 s times the factor of an emulated machine.
const stopTimeout = 3 * time.Minute

func (c *command) daemon() *cobra.Command {
	return group("daemon", "Start, stop and look at the daemon", `The daemon owns the virtual machine: it boots it, watches it, and serves the
Docker API and the API for IDEs on two sockets below the data directory.`, c.daemonStart(), c.daemonStop(), c.daemonStatus())
}

func (c *command) daemonStart() *cobra.Command {
	var foreground, detached, wait bool
	var boot, accelerator, kernel, socket string
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the daemon",
		Long: `Start the daemon in the background and return when its API answers. The virtual
machine boots meanwhile; --wait waits for it and shows the phases.`,
		Example: "  arcbox daemon start --wait\n  arcbox daemon start --foreground --boot on_demand",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := c.overrides()
			args := []string{"daemon", "start", "--detached"}
			for _, f := range []struct{ flag, key, value string }{
				{"boot", "vm.boot", boot}, {"accelerator", "vm.accelerator", accelerator},
			} {
				if cmd.Flags().Changed(f.flag) {
					o[f.key] = f.value
					args = append(args, "--"+f.flag, f.value)
				}
			}
			if cmd.Flags().Changed("kernel") {
				o["vm.kernel_path"] = kernel
			}
			if cmd.Flags().Changed("socket") {
				o["docker.socket_path"] = socket
			}
			settings, err := c.deps.Settings(o)
			if err != nil {
				return err
			}
			d, err := c.deps.Daemon(o)
			if err != nil {
				return err
			}
			if foreground || detached {
				return d.Run(cmd.Context(), foreground, func(s Settings) {
					if foreground {
						c.narrate("API    %s\ndocker %s", s.GRPCSocket, s.DockerSocket)
					}
				})
			}
			// Resolved here: the daemon works in another directory.
			args = append(args, "--data-dir", settings.DataDir, "--socket", settings.DockerSocket)
			if settings.Kernel != "" {
				args = append(args, "--kernel", settings.Kernel)
			}
			return c.startInBackground(cmd.Context(), d, settings, args, wait)
		},
	}
	cmd.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground and log to the terminal")
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until the Docker engine answers")
	cmd.Flags().StringVar(&boot, "boot", "", "when the virtual machine boots: eager or on_demand (vm.boot)")
	cmd.Flags().StringVar(&accelerator, "accelerator", "", "auto, kvm or tcg (vm.accelerator)")
	cmd.Flags().StringVar(&kernel, "kernel", "", "boot this kernel instead of the pinned one (vm.kernel_path)")
	cmd.Flags().StringVar(&socket, "socket", "", "path of the Docker socket (docker.socket_path)")
	// What the background daemon itself is started with.
	cmd.Flags().BoolVar(&detached, "detached", false, "")
	_ = cmd.Flags().MarkHidden("detached") // the flag is there
	complete(cmd, "boot", "eager", "on_demand")
	complete(cmd, "accelerator", "auto", "kvm", "tcg")
	cmd.MarkFlagsMutuallyExclusive("foreground", "wait", "detached")
	return cmd
}

func (c *command) startInBackground(ctx context.Context, d Daemon, s Settings, args []string, wait bool) error {
	pid, err := d.Spawn(ctx, args, func(ctx context.Context) bool { return serving(ctx, s) })
	already := errors.Is(err, domain.ErrAlreadyRunning)
	if err != nil && (!already || !wait) {
		return err
	}
	if already {
		c.warnOfSkew(ctx, s)
		c.narrate("the daemon runs already (process %d)", pid)
	} else {
		c.narrate("the daemon runs (process %d)", pid)
	}
	if wait {
		if already {
			if err := c.wakeDegraded(ctx, s); err != nil {
				return err
			}
		}
		if err := c.follow(ctx, s, func() error {
			return domain.WithHint(fmt.Errorf("the daemon ended while it started: %w", domain.ErrUnavailable), "see "+s.DaemonLog)
		}); err != nil {
			return err
		}
	}
	return c.print(map[string]any{"pid": pid, "docker_socket": s.DockerSocket, "grpc_socket": s.GRPCSocket}, func(w io.Writer) {
		row(w, "docker", "unix://"+s.DockerSocket)
		row(w, "api", "unix://"+s.GRPCSocket)
	}, strconv.Itoa(pid))
}

func (c *command) daemonStop() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon and its virtual machine",
		Long: `Stop the daemon and its virtual machine. Containers get the time to end that they were
given; --force takes it from them.`,
		Example: "  arcbox daemon stop\n  arcbox daemon stop --force",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.deps.Daemon(c.overrides())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), stopTimeout)
			defer cancel()
			stopped, err := d.Stop(ctx, force)
			if err != nil {
				return err
			}
			return c.print(map[string]any{"stopped": stopped}, func(w io.Writer) {
				if stopped {
					fmt.Fprintln(w, "stopped")
				} else {
					fmt.Fprintln(w, "the daemon was not running")
				}
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not wait for containers and guest to stop")
	return cmd
}

// daemonState is the output of daemon status.
type daemonState struct {
	Running       bool   `json:"running"`
	PID           int    `json:"pid"`
	Phase         string `json:"phase"`
	State         string `json:"state"`
	UptimeSeconds int64  `json:"uptime_seconds"`
	DockerSocket  string `json:"docker_socket"`
	GRPCSocket    string `json:"grpc_socket"`
	DataDir       string `json:"data_dir"`
	Message       string `json:"message,omitempty"`
	Error         string `json:"error,omitempty"`
	Version       string `json:"version,omitempty"`
}

func (c *command) daemonStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Say whether the daemon runs",
		Long:    "Say whether the daemon runs: the exit code is 0 when it does and 3 when it does not.",
		Example: "  arcbox daemon status\n  arcbox daemon status --format quiet",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, pid, running, err := c.probe()
			if err != nil {
				return err
			}
			st := daemonState{Running: running, PID: pid, State: "stopped", DockerSocket: s.DockerSocket, GRPCSocket: s.GRPCSocket, DataDir: s.DataDir}
			if running {
				st.fill(cmd.Context(), s)
				c.warnOfSkew(cmd.Context(), s)
			}
			if err := c.print(st, st.table, st.State); err != nil {
				return err
			}
			if !running {
				return errNotRunning
			}
			return nil
		},
	}
}

func (st *daemonState) fill(ctx context.Context, s Settings) {
	in, err := info(ctx, s)
	if err != nil {
		st.State, st.Error = "unknown", "the daemon holds its lock but its API does not answer"
		return
	}
	st.Phase, st.Message, st.Error = domain.SetupPhase(in.Setup.GetPhase()).String(), in.Setup.GetMessage(), in.Setup.GetError()
	st.UptimeSeconds = int64(time.Since(in.StartedAt.AsTime()).Seconds())
	st.Version, st.DockerSocket, st.GRPCSocket = in.Version, in.DockerSocket, in.GrpcSocket
	for _, vm := range in.Vms {
		if vm.Machine == string(domain.DefaultMachine) {
			st.State = vm.State
		}
	}
}

func (st *daemonState) table(w io.Writer) {
	if !st.Running {
		row(w, "daemon", "not running")
		row(w, "data", st.DataDir)
		return
	}
	row(w, "daemon", fmt.Sprintf("running (process %d, up %s)", st.PID, seconds(time.Duration(st.UptimeSeconds)*time.Second)))
	row(w, "phase", st.Phase)
	row(w, "vm", st.State)
	row(w, "docker", "unix://"+st.DockerSocket)
	row(w, "api", "unix://"+st.GRPCSocket)
	if st.Error != "" {
		row(w, "error", st.Error)
	}
}
