package main

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"arcbox/adapters/cli"
	"arcbox/adapters/daemon"
	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/bootstrap"
)

var update = flag.Bool("update", false, "write what the commands print into testdata/script")

func TestMain(m *testing.M) {
	version, commit = "1.2.0", "abc"
	testscript.Main(m, map[string]func(){"arcbox": main})
}

// The scripts run the whole program, with its own files in a home directory of
// each script, against a daemon that answers what the script says.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "h")
			e.Setenv("HOME", home)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at the end of each process
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"daemon": fakeDaemon},
	})
}

// answers are what a scripted daemon says, each in the JSON of protobuf.
type answers struct {
	Version json.RawMessage   `json:"version"`
	Info    json.RawMessage   `json:"info"`
	Ports   []json.RawMessage `json:"ports"` // a watch sends all of them, a list is the first
}

// fakeDaemon serves the answers in a file until the script ends: daemon FILE.
func fakeDaemon(ts *testscript.TestScript, _ bool, args []string) {
	var a answers
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &a))
	s := &scripted{version: new(arcboxv1.GetVersionResponse), info: new(arcboxv1.GetInfoResponse)}
	ts.Check(protojson.Unmarshal(a.Version, s.version))
	ts.Check(protojson.Unmarshal(a.Info, s.info))
	p := daemon.Paths{DataDir: filepath.Join(ts.Getenv("HOME"), ".arcbox")}
	ports := &scriptedPorts{}
	for _, raw := range a.Ports {
		list := new(arcboxv1.PortList)
		ts.Check(protojson.Unmarshal(raw, list))
		ports.lists = append(ports.lists, list)
	}
	lock, err := daemon.Acquire(p)
	ts.Check(err)
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", p.GRPCSocket())
	ts.Check(err)
	server := grpc.NewServer()
	arcboxv1.RegisterSystemServiceServer(server, s)
	arcboxv1.RegisterPortServiceServer(server, ports)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	ts.Defer(func() {
		server.Stop()
		<-ended
		_ = lock.Release()
	})
}

type scripted struct {
	arcboxv1.UnimplementedSystemServiceServer
	version *arcboxv1.GetVersionResponse
	info    *arcboxv1.GetInfoResponse
}

func (s *scripted) GetVersion(context.Context, *arcboxv1.GetVersionRequest) (*arcboxv1.GetVersionResponse, error) {
	return s.version, nil
}

func (s *scripted) GetInfo(context.Context, *arcboxv1.GetInfoRequest) (*arcboxv1.GetInfoResponse, error) {
	return s.info, nil
}

type scriptedPorts struct {
	arcboxv1.UnimplementedPortServiceServer
	lists []*arcboxv1.PortList
}

func (s *scriptedPorts) List(context.Context, *arcboxv1.ListPortsRequest) (*arcboxv1.PortList, error) {
	return s.lists[0], nil
}

func (s *scriptedPorts) Watch(_ *arcboxv1.WatchPortsRequest, out grpc.ServerStreamingServer[arcboxv1.PortList]) error {
	for _, l := range s.lists {
		if err := out.Send(l); err != nil {
			return err
		}
	}
	return nil
}

// visit calls do for every command that a user sees.
func visit(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			visit(sub, do)
		}
	}
}

func TestEveryHelpTextIsInAScriptAndTeaches(t *testing.T) {
	script, err := os.ReadFile("testdata/script/help.txtar")
	require.NoError(t, err)
	visit(cli.New(bootstrap.CommandLine(bootstrap.Build{}, nil)), func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		require.Contains(t, string(script), "exec "+c.CommandPath()+" --help\ncmp stdout "+name+"\n")
		require.Contains(t, string(script), "-- "+name+" --\n")
		require.NotEmpty(t, c.Example, "%s has an example", c.CommandPath())
		require.NotEmpty(t, c.Short)
	})
}

func TestColoursCanBeTurnedOff(t *testing.T) {
	for env, want := range map[[2]string]bool{{"", "xterm"}: true, {"1", "xterm"}: false, {"", "dumb"}: false, {"", ""}: true} {
		require.Equal(t, want, colors(func(name string) string {
			return map[string]string{"NO_COLOR": env[0], "TERM": env[1]}[name]
		}), env)
	}
}

// BenchmarkHelp measures what a user waits for before the first line.
func BenchmarkHelp(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "arcbox")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", bin, ".")
	out, err := build.CombinedOutput()
	require.NoError(b, err, string(out))
	for b.Loop() {
		if err := exec.CommandContext(b.Context(), bin, "--help").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
