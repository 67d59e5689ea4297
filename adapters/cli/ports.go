package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func (c *command) ports() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "ports",
		Short: "Show the ports of this computer that lead to containers",
		Long: `Show the ports of this computer that lead to containers.

STATE is active, conflict (another program has the port; it is tried again and
taken when it is free) or refused (this computer cannot listen there). IN and OUT
are bytes to and from the container, FLOWS the connections that are open.
The list is empty while the virtual machine is down. With --watch the list is
shown again whenever a port comes, goes or changes its state; with --format json
each time on one line.`,
		Example: "  arcbox ports\n  arcbox ports --watch --format json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, running, err := c.probe()
			if err != nil {
				return err
			}
			if !running {
				return domain.WithHint(errNotRunning, "arcbox daemon start")
			}
			client, done, err := dialPorts(s)
			if err != nil {
				return err
			}
			defer done()
			c.warnOfSkew(cmd.Context(), s)
			if watch {
				return c.watchPorts(cmd.Context(), client)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			list, err := client.List(ctx, &arcboxv1.ListPortsRequest{})
			if err != nil {
				return err
			}
			return c.print(toPorts(list), func(w io.Writer) { portTable(w, list) }, portNames(list)...)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on with every change")
	return cmd
}

func dialPorts(s Settings) (arcboxv1.PortServiceClient, func(), error) {
	conn, err := grpc.NewClient("unix://"+s.GRPCSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the daemon: %w", err)
	}
	return arcboxv1.NewPortServiceClient(conn), func() { _ = conn.Close() }, nil
}

// watchPorts shows every list until the user interrupts or the daemon stops.
func (c *command) watchPorts(ctx context.Context, client arcboxv1.PortServiceClient) error {
	stream, err := client.Watch(ctx, &arcboxv1.WatchPortsRequest{})
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		list, err := stream.Recv()
		if errors.Is(err, io.EOF) && ctx.Err() == nil {
			return fmt.Errorf("the daemon stopped: %w", domain.ErrUnavailable)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Ctrl-C ends watching, it is no error
		}
		if err != nil {
			return err
		}
		err = c.emit(toPorts(list), func(w io.Writer) {
			if !first {
				fmt.Fprintln(w)
			}
			portTable(w, list)
		}, portNames(list)...)
		if err != nil {
			return err
		}
	}
}

// portsOutput is the JSON of arcbox ports.
type portsOutput struct {
	Ports []portOutput `json:"ports"`
}

type portOutput struct {
	ContainerID   string `json:"container_id,omitempty"`
	ContainerName string `json:"container_name,omitempty"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"host_ip"`
	HostPort      uint32 `json:"host_port"`
	TargetIP      string `json:"target_ip"`
	TargetPort    uint32 `json:"target_port"`
	State         string `json:"state"`
	Reason        string `json:"reason,omitempty"`
	Since         string `json:"since,omitempty"`
	Flows         uint64 `json:"flows"`
	TotalFlows    uint64 `json:"total_flows"`
	LimitedFlows  uint64 `json:"limited_flows"`
	FailedFlows   uint64 `json:"failed_flows"`
	BytesIn       uint64 `json:"bytes_in"`
	BytesOut      uint64 `json:"bytes_out"`
}

func toPorts(list *arcboxv1.PortList) portsOutput {
	out := portsOutput{Ports: make([]portOutput, 0, len(list.GetPorts()))}
	for _, p := range list.GetPorts() {
		o := portOutput{ContainerID: p.ContainerId, ContainerName: p.ContainerName, Protocol: p.Protocol, HostIP: p.HostIp,
			HostPort: p.HostPort, TargetIP: p.TargetIp, TargetPort: p.TargetPort, State: p.State, Reason: p.Reason, Flows: p.Flows,
			TotalFlows: p.TotalFlows, LimitedFlows: p.LimitedFlows, FailedFlows: p.FailedFlows, BytesIn: p.BytesIn, BytesOut: p.BytesOut}
		if p.Since != nil {
			o.Since = p.Since.AsTime().UTC().Format(time.RFC3339)
		}
		out.Ports = append(out.Ports, o)
	}
	return out
}

func portTable(w io.Writer, list *arcboxv1.PortList) {
	fmt.Fprintln(w, "HOST\tPROTO\tCONTAINER\tTARGET\tSTATE\tIN\tOUT\tFLOWS")
	for _, p := range list.GetPorts() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", hostPort(p.HostIp, p.HostPort), p.Protocol, containerName(p),
			hostPort(p.TargetIp, p.TargetPort), p.State, bytesText(int64(p.BytesIn)), bytesText(int64(p.BytesOut)), p.Flows)
	}
	// Reasons are sentences, too long for a column.
	for _, p := range list.GetPorts() {
		at := hostPort(p.HostIp, p.HostPort) + "/" + p.Protocol
		switch {
		case p.Reason == "":
		case strings.Contains(p.Reason, at):
			fmt.Fprintf(w, "\n%s\n", p.Reason)
		default:
			fmt.Fprintf(w, "\n%s: %s\n", at, p.Reason)
		}
	}
}

// portNames are what is published where, such as 127.0.0.1:80/tcp.
func portNames(list *arcboxv1.PortList) []string {
	var out []string
	for _, p := range list.GetPorts() {
		out = append(out, hostPort(p.HostIp, p.HostPort)+"/"+p.Protocol)
	}
	return out
}

func hostPort(ip string, port uint32) string {
	return net.JoinHostPort(ip, strconv.FormatUint(uint64(port), 10))
}

// containerName is what the user calls it.
func containerName(p *arcboxv1.Port) string {
	const short = 12
	switch {
	case p.ContainerName != "":
		return p.ContainerName
	case p.ContainerId != "":
		return p.ContainerId[:min(short, len(p.ContainerId))]
	}
	return "-"
}
