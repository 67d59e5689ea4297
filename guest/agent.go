//go:build linux

package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"arcbox/domain"
	"arcbox/guest/boot"
	"arcbox/guest/clock"
	"arcbox/guest/configure"
	"arcbox/guest/engine"
	"arcbox/guest/hostsockets"
	"arcbox/guest/listeners"
	"arcbox/guest/logring"
	"arcbox/guest/publish"
	"arcbox/guest/rpc"
	"arcbox/guest/supervisor"
	"arcbox/guest/touch"
	"arcbox/guest/tunnel"
)

// DataDisk is the name of the data disk among the services.
const DataDisk = "data-disk"

// The bounds of the raw ports. dockerd's clients keep a connection each, and a
// busy development machine has hundreds; the rest is a leak.
const (
	dockerConnections = 1024
	streamConnections = 1024
	// dockerWait is how long a client is held while dockerd is not there: a
	// restart of dockerd takes seconds.
	dockerWait = 10 * time.Second
)

// Config is what an agent is made of.
type Config struct {
	Hello domain.AgentHello
	// Listen opens a vsock port to the host.
	Listen func(port uint32) (net.Listener, error)
	// DockerPort is the vsock port of the Docker API, DockerSocket where dockerd
	// listens.
	DockerPort   uint32
	DockerSocket string
	// PublishSocket is where the userland proxies of dockerd ask for ports.
	PublishSocket string
	// SocketDir is where sockets are that lead to paths of the host, OffersFile
	// keeps their list on the data disk.
	SocketDir, OffersFile string
	// Host is what the host configures; the services may wait for it. TouchAs is
	// who touches its files.
	Host    *configure.Guest
	TouchAs touch.Identity
	// PrepareDisk makes the data disk usable. Without it no service starts.
	PrepareDisk func(context.Context) error
	// DiskUsage says how full the data disk is once it is ready, TrimDisk gives
	// what is unused of it back to the host.
	DiskUsage func() (domain.DiskUsage, error)
	TrimDisk  func(context.Context) (uint64, error)
	// Services makes the list of what is supervised once the disk is ready. It
	// is given a way to enter what dockerd says of itself.
	Services func(setEngine func(engine.Version)) []supervisor.Spec
	Pause    supervisor.Pause
	Starter  supervisor.Starter
	Clock    *clock.Clock
	Logs     *logring.Store
	Log      *slog.Logger
	// Milestone is told what a person who watches the console wants to know.
	Milestone func(string)
	// Heartbeat is the pause between heartbeats; 0 means the protocol's.
	Heartbeat time.Duration
}

// Agent is the part of the guest agent that serves the host.
type Agent struct {
	cfg      Config
	hub      *rpc.Hub
	ports    *publish.Broker
	sockets  *hostsockets.Server
	toucher  *touch.Toucher
	shutdown chan time.Duration
}

// New returns an agent. Run may be called once.
func New(cfg Config) *Agent {
	sockets := hostsockets.New(hostsockets.Config{Dir: cfg.SocketDir, Exists: exists, Log: cfg.Log})
	return &Agent{cfg: cfg, hub: rpc.NewHub(), ports: publish.NewBroker(), sockets: sockets, shutdown: make(chan time.Duration, 1),
		toucher: touch.New(cfg.TouchAs, func() []touch.Tree { return trees(cfg.Host.Mounted()) }, cfg.Log)}
}

// SetService enters the state of something that is not supervised.
func (a *Agent) SetService(s domain.ServiceStatus) { a.hub.SetService(s) }

// Run serves the host until it asks for a shutdown or ctx ends; then it stops
// the services in order within the grace, and afterwards the connections. It
// returns nil when that is done; the machine can then be switched off.
func (a *Agent) Run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	servers, serving := errgroup.WithContext(serving)
	if err := a.serve(serving, servers); err != nil {
		stopServing()
		return errors.Join(err, servers.Wait())
	}
	a.cfg.Milestone("agent listens")

	starting, stopStarting := context.WithCancel(serving)
	var services *supervisor.Supervisor
	var starter sync.WaitGroup
	// Containers are counted as long as there are services to stop.
	sockets := listeners.New(a.ports.SetListeners, a.cfg.Log)
	starter.Go(func() { sockets.Run(starting) })
	starter.Go(func() {
		engine.FollowRunning(starting, a.cfg.DockerSocket, func(r engine.Running) {
			a.hub.SetRunning(r.Containers)
			sockets.SetContainers(r.HostNetwork)
		})
	})
	starter.Go(func() { services = a.start(starting) })
	starter.Go(func() {
		if err := clock.FollowSteps(starting, a.hub.ClockStepped); err != nil {
			a.cfg.Log.Warn("a wrong clock is found by its heartbeats only", "error", err)
		}
	})
	starter.Go(func() { a.followDisk(starting) })

	grace := defaultGrace
	select {
	case grace = <-a.shutdown:
	case <-ctx.Done():
	case <-serving.Done(): // a server failed; its error comes from Wait
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	stopStarting()
	starter.Wait()
	if services != nil {
		services.Stop(stopping)
	}
	a.cfg.Milestone("services stopped")
	stopServing()
	return servers.Wait()
}

// defaultGrace is for an end that comes without one.
const defaultGrace = 25 * time.Second

// serve opens the ports and serves them in g until ctx ends.
func (a *Agent) serve(ctx context.Context, g *errgroup.Group) error {
	agent := rpc.New(rpc.Config{
		Hello: a.cfg.Hello, Hub: a.hub, Logs: a.cfg.Logs, Clock: a.cfg.Clock, Ports: a.ports, Sockets: a.sockets, Log: a.cfg.Log, Heartbeat: a.cfg.Heartbeat,
		Configure: a.configure, Touch: a.toucher.Touch,
		Trim:     a.cfg.TrimDisk,
		Shutdown: func(grace time.Duration) { a.shutdown <- grace },
	})
	docker := &tunnel.Server{Name: "docker", Open: tunnel.ToUnix(a.cfg.DockerSocket, dockerWait), Limit: dockerConnections, Log: a.cfg.Log}
	to := tunnel.Streams{Allowed: tunnel.OwnNetworks(boot.Uplink), Accept: a.sockets.Take}
	streams := &tunnel.Server{Name: "stream", Open: tunnel.ToStream(to), Limit: streamConnections, Log: a.cfg.Log}
	proxies := &publish.Server{Path: a.cfg.PublishSocket, Broker: a.ports, Log: a.cfg.Log}
	g.Go(func() error { return proxies.Serve(ctx) })
	g.Go(func() error { return a.sockets.Serve(ctx) })
	g.Go(func() error { a.toucher.Run(ctx); return nil })
	ports := []struct {
		port  uint32
		serve func(context.Context, net.Listener) error
	}{
		{a.cfg.DockerPort, docker.Serve},
		{domain.PortStream, streams.Serve},
		{domain.PortAgent, agent.Serve}, // last: when it answers, the others do too
	}
	for _, p := range ports {
		l, err := a.cfg.Listen(p.port)
		if err != nil {
			return fmt.Errorf("listen on vsock port %d: %w", p.port, err)
		}
		g.Go(func() error { return p.serve(ctx, l) })
	}
	return nil
}

// configure makes the guest what the host says.
func (a *Agent) configure(c domain.GuestConfig) error {
	return a.cfg.Host.Apply(c, a.sockets.SetServices)
}

func trees(mounted []configure.Mounted) []touch.Tree {
	list := make([]touch.Tree, 0, len(mounted))
	for _, m := range mounted {
		list = append(list, touch.Tree{Path: m.Path, Dir: m.Dir})
	}
	return list
}

// start makes the disk ready and starts the services. It returns nil when
// there is nothing to stop.
func (a *Agent) start(ctx context.Context) *supervisor.Supervisor {
	specs := a.cfg.Services(a.hub.SetEngine)
	a.hub.SetService(domain.ServiceStatus{Name: DataDisk, State: domain.ServiceStarting})
	for _, s := range specs {
		a.hub.SetService(domain.ServiceStatus{Name: s.Name, State: domain.ServiceStarting, Detail: "waits for the data disk"})
	}
	if err := a.cfg.PrepareDisk(ctx); err != nil {
		a.cfg.Log.Error("data disk not ready", "error", err)
		a.cfg.Milestone("data disk: " + err.Error())
		a.hub.SetService(domain.ServiceStatus{Name: DataDisk, State: domain.ServiceFailed, Detail: withHint(err)})
		for _, s := range specs {
			a.hub.SetService(domain.ServiceStatus{Name: s.Name, State: domain.ServiceStopped, Detail: "needs the data disk, which is not ready"})
		}
		return nil
	}
	a.hub.SetService(domain.ServiceStatus{Name: DataDisk, State: domain.ServiceReady})
	a.cfg.Milestone("data disk ready")
	if err := a.sockets.Load(a.cfg.OffersFile); err != nil {
		a.cfg.Log.Error("sockets of the host that containers use are not all there", "error", err)
	}
	if ctx.Err() != nil {
		return nil
	}
	s := supervisor.New(specs, a.cfg.Pause, supervisor.Deps{
		Starter: a.cfg.Starter,
		Report:  a.report,
		Output:  func(name string) supervisor.Output { return a.cfg.Logs.Writer(name) },
		Tail:    a.cfg.Logs.Tail,
		Log:     a.cfg.Log,
	})
	s.Start()
	return s
}

func (a *Agent) report(s domain.ServiceStatus) {
	a.hub.SetService(s)
	switch {
	case s.State == domain.ServiceStopped, s.State == domain.ServiceStarting && s.Detail != "": // nothing began
	default:
		a.cfg.Milestone(s.Name + " " + string(s.State))
	}
}

// exists looks for a path of the host where its directory is shared.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// withHint is what the host can show of an error.
func withHint(err error) string {
	if h := domain.Hint(err); h != "" {
		return err.Error() + " (" + h + ")"
	}
	return err.Error()
}
