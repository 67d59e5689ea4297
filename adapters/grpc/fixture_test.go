package grpc

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// setup is a start whose updates the test sends.
type setup chan domain.SetupStatus

func (s setup) WatchSetup(ctx context.Context, f func(domain.SetupStatus) error) error {
	for {
		select {
		case st := <-s:
			if err := f(st); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fixture is a server on a real socket, or in memory, and a client of it.
type fixture struct {
	system   *mock.MockSystem
	machines *mock.MockMachineStore
	prune    pruneFunc
	setup    setup
	client   arcboxv1.SystemServiceClient
	conn     *grpc.ClientConn
	path     string
	server   *Server
	closed   sync.Once
}

func newFixture(t *testing.T) *fixture {
	ctrl := gomock.NewController(t)
	return &fixture{system: mock.NewMockSystem(ctrl), machines: mock.NewMockMachineStore(ctrl)}
}

// serve serves the system and the machines on a real socket.
func serve(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.path = filepath.Join(t.TempDir(), "arcbox.sock")
	f.make(f.services()...)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: f.path, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false) // as a dead daemon
	require.NoError(t, left.Close())
	require.NoError(t, f.server.Start(t.Context()))
	f.dial(t, "unix://"+f.path)
	return f
}

func (f *fixture) services() []Service {
	prune := pruneFunc(func(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error) { return f.prune(ctx, o) })
	return []Service{
		NewSystemService(f.system, prune, Build{Version: "1.2.3", Commit: "abc"}, Paths{DataDir: "/d", DockerSocket: "/d/run/docker.sock"}),
		NewMachineService(f.system, f.machines, testNetwork),
	}
}

// serveServices serves them in memory.
func serveServices(t *testing.T, services ...Service) *fixture {
	t.Helper()
	f := &fixture{}
	f.make(services...)
	l := bufconn.Listen(1 << 20)
	f.server.serve(l)
	f.dial(t, "passthrough:///memory", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	return f
}

func (f *fixture) make(services ...Service) {
	f.setup = make(setup)
	f.server = NewServer(f.path, services, f.setup, slog.New(slog.DiscardHandler))
}

func (f *fixture) dial(t *testing.T, target string, opts ...grpc.DialOption) {
	t.Helper()
	var err error
	f.conn, err = grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	f.client = arcboxv1.NewSystemServiceClient(f.conn)
	t.Cleanup(func() {
		f.close(t)
		_ = f.conn.Close()
	})
}

// patience is far more than what a server needs to close.
const patience = 10 * time.Second

// close closes the server while the client still watches, which takes no time.
func (f *fixture) close(t *testing.T) {
	t.Helper()
	f.closed.Do(func() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.server.Close(ctx))
		require.Less(t, time.Since(began), patience/2, "nothing under way holds the shutdown up")
	})
}
