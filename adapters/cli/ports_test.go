package cli

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
)

// portServer tells lists, and then waits for the client if it is to.
type portServer struct {
	arcboxv1.UnimplementedPortServiceServer
	lists []*arcboxv1.PortList
	stay  bool
}

func (s *portServer) List(context.Context, *arcboxv1.ListPortsRequest) (*arcboxv1.PortList, error) {
	return s.lists[0], nil
}

func (s *portServer) Watch(_ *arcboxv1.WatchPortsRequest, out grpc.ServerStreamingServer[arcboxv1.PortList]) error {
	for _, l := range s.lists {
		if err := out.Send(l); err != nil {
			return err
		}
	}
	if s.stay {
		<-out.Context().Done()
	}
	return nil
}

func (w *world) servePorts(t *testing.T, s *portServer) {
	t.Helper()
	server := grpc.NewServer()
	arcboxv1.RegisterPortServiceServer(server, s)
	l := listenUnix(t, filepath.Join(w.dir, "arcbox.sock"))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	w.running = true
}

func ports() *arcboxv1.PortList {
	return &arcboxv1.PortList{Ports: []*arcboxv1.Port{
		{ContainerId: strings.Repeat("a", 64), ContainerName: "web", Protocol: "tcp", HostIp: "0.0.0.0", HostPort: 8080, TargetIp: "172.17.0.2", TargetPort: 80,
			State: "active", Since: timestamppb.New(time.Unix(0, 0)), Flows: 3, TotalFlows: 9, BytesIn: 2048, BytesOut: 3 << 20},
		{ContainerId: strings.Repeat("b", 64), Protocol: "udp", HostIp: "::", HostPort: 53, TargetIp: "fd0a:bc:1::2", TargetPort: 53,
			State: "conflict", Reason: "port [::]:53/udp is in use by dnsmasq"},
	}}
}

func TestPortsAsATable(t *testing.T) {
	w := newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{ports()}})
	code, stdout, stderr := w.run(t, "ports")
	require.Equal(t, ExitOK, code, stderr)
	lines := strings.Split(stdout, "\n")
	require.Equal(t, []string{"HOST", "PROTO", "CONTAINER", "TARGET", "STATE", "IN", "OUT", "FLOWS"}, strings.Fields(lines[0]))
	require.Equal(t, []string{"0.0.0.0:8080", "tcp", "web", "172.17.0.2:80", "active", "2.0", "KiB", "3.0", "MiB", "3"}, strings.Fields(lines[1]))
	require.Equal(t, []string{"[::]:53", "udp", "bbbbbbbbbbbb", "[fd0a:bc:1::2]:53", "conflict", "0.0", "KiB", "0.0", "KiB", "0"}, strings.Fields(lines[2]))
	require.Contains(t, stdout, "\nport [::]:53/udp is in use by dnsmasq\n")
	list := ports()
	list.Ports[0].Reason = "no right to it"
	w = newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{list}})
	_, stdout, _ = w.run(t, "ports")
	require.Contains(t, stdout, "\n0.0.0.0:8080/tcp: no right to it\n")
}

func TestPortsAsJSON(t *testing.T) {
	w := newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{ports()}})
	_, stdout, _ := w.run(t, "ports", "--format", "json")
	var out portsOutput
	require.NoError(t, json.Unmarshal([]byte(stdout), &out))
	require.Len(t, out.Ports, 2)
	require.Equal(t, portOutput{ContainerID: strings.Repeat("a", 64), ContainerName: "web", Protocol: "tcp", HostIP: "0.0.0.0", HostPort: 8080,
		TargetIP: "172.17.0.2", TargetPort: 80, State: "active", Since: "1970-01-01T00:00:00Z", Flows: 3, TotalFlows: 9, BytesIn: 2048, BytesOut: 3 << 20}, out.Ports[0])
}

func TestPortsOfAMachineThatIsDown(t *testing.T) {
	w := newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{{}}})
	code, stdout, _ := w.run(t, "ports", "--format", "json")
	require.Equal(t, ExitOK, code)
	require.JSONEq(t, `{"ports":[]}`, stdout)
	code, stdout, _ = w.run(t, "ports")
	require.Equal(t, ExitOK, code)
	require.Len(t, strings.Split(strings.TrimSpace(stdout), "\n"), 1, "the head of the table")
	w.running = false
	code, _, stderr := w.run(t, "ports")
	require.Equal(t, ExitNotRunning, code)
	require.Contains(t, stderr, "arcbox daemon start")
}

func TestPortsAreWatchedLineByLine(t *testing.T) {
	w := newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{{}, ports()}})
	code, stdout, stderr := w.run(t, "ports", "--watch", "--format", "json")
	require.Equal(t, ExitError, code, "the daemon stopped")
	require.Contains(t, stderr, "the daemon stopped")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"ports":[]}`, lines[0])
	_, stdout, _ = w.run(t, "ports", "-w")
	require.Equal(t, 2, strings.Count(stdout, "HOST"))
}

func TestBytesAreShownShort(t *testing.T) {
	for n, want := range map[int64]string{0: "0.0 KiB", 1 << 20: "1.0 MiB", 3 << 30: "3.0 GiB", -1: "?"} {
		require.Equal(t, want, bytesText(n))
	}
}

func TestADaemonThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.running = true // it has no socket yet
	code, _, stderr := w.run(t, "ports")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "the daemon does not answer, or ended meanwhile (arcbox daemon status")
	require.NotContains(t, stderr, "dial", "the transport's words help nobody")
}

func TestCtrlCEndsWatchingPorts(t *testing.T) {
	w := newWorld(t)
	w.servePorts(t, &portServer{lists: []*arcboxv1.PortList{{}}, stay: true})
	ctx, cancel := context.WithCancel(t.Context())
	deps := w.deps()
	ended := make(chan int)
	go func() { ended <- Execute(ctx, deps, []string{"ports", "--watch", "--format", "json"}) }()
	require.Eventually(t, func() bool { return w.stdout.String() != "" }, 5*time.Second, time.Millisecond)
	cancel()
	require.Equal(t, ExitOK, <-ended)
}
