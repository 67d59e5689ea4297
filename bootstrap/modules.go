package bootstrap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"google.golang.org/grpc"

	"arcbox/adapters/agent"
	"arcbox/adapters/assets"
	"arcbox/adapters/dns"
	"arcbox/adapters/docker"
	grpcapi "arcbox/adapters/grpc"
	"arcbox/adapters/netfwd"
	"arcbox/adapters/store"
	"arcbox/adapters/telemetry"
	appassets "arcbox/application/assets"
	"arcbox/application/containers"
	"arcbox/application/events"
	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/application/system"
	"arcbox/domain"
)

// Options is the daemon: everything that it is made of, wired by type.
func Options(c Config, b Build, log *slog.Logger) fx.Option {
	return fx.Options(
		fx.Supply(c, b, log),
		fx.WithLogger(func() fxevent.Logger {
			l := &fxevent.SlogLogger{Logger: log}
			l.UseLogLevel(slog.LevelDebug)
			return l
		}),
		telemetryModule, storeModule, assetsModule, hypervisorModule, dnsModule, guestModule, filesModule,
		lifecycleModule, containersModule, systemModule, grpcModule, dockerModule, startModule,
	)
}

var telemetryModule = fx.Module("telemetry",
	fx.Provide(
		func(c Config) port.LogFiles { return telemetry.NewLogFiles(c.paths().LogDir()) },
		newTracerProvider,
	),
)

func newTracerProvider(lc fx.Lifecycle, b Build) (trace.TracerProvider, error) {
	// The exporter connects when it has something to send.
	p, shutdown, err := telemetry.NewTracerProvider(context.Background(), b.Version)
	if err != nil {
		return nil, err
	}
	lc.Append(fx.StopHook(func(ctx context.Context) error { return shutdown(ctx) }))
	return p, nil
}

var storeModule = fx.Module("store",
	fx.Provide(
		func(c Config) port.MachineStore { return store.NewMachines(c.DataDir) },
		func(c Config, log *slog.Logger) (port.Disks, port.DiskImages) {
			d := store.NewDisks(c.DataDir, log)
			return d, d
		},
	),
)

var assetsModule = fx.Module("assets",
	fx.Provide(
		func() *progress { return &progress{} },
		func(c Config, b Build, p *progress, log *slog.Logger) (*appassets.Service, error) {
			return newAssets(c, b, p.report, log)
		},
		func(a *appassets.Service) port.BootAssets { return a },
	),
)

// progress carries the assets' progress to the system, which needs the assets
// itself.
type progress struct {
	to atomic.Pointer[func(domain.AssetProgress)]
}

func (p *progress) report(a domain.AssetProgress) {
	if to := p.to.Load(); to != nil {
		(*to)(a)
	}
}

func newAssets(c Config, b Build, report func(domain.AssetProgress), log *slog.Logger) (*appassets.Service, error) {
	arch, err := domain.ArchFor(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	address := cmp.Or(c.Assets.Source, b.AssetSource)
	if address == "" {
		return nil, errNoAssets
	}
	source, err := assets.NewSource(address, assets.SourceOptions{Version: cmp.Or(c.Assets.Version, b.AssetVersion),
		TempDir: filepath.Join(c.DataDir, "boot"), Log: log})
	if err != nil {
		return nil, err
	}
	pin := b.AssetManifest
	if c.Assets.Source != "" && c.Assets.Source != b.AssetSource {
		log.Warn("the asset source is not the one of this build", "source", source.Describe())
	}
	cache := assets.NewCache(c.DataDir, log)
	return appassets.New(appassets.Options{Version: b.AssetVersion, ManifestSHA256: pin, OverrideVersion: c.Assets.Version,
		Arch: arch, CustomKernel: c.VM.KernelPath, Progress: report}, source, cache, cache, log)
}

// guestModule is what is outside the hypervisor and talks to a guest.
var guestModule = fx.Module("guest",
	fx.Provide(
		func(c Config, names port.Resolver, log *slog.Logger) (port.Networks, error) {
			return netfwd.New(networkOptions(c, names, log))
		},
		func(b Build, logs port.LogFiles, log *slog.Logger) port.Agents {
			return agent.New(agent.Config{Version: b.Version, Logs: logs, Log: log})
		},
	),
)

var lifecycleModule = fx.Module("lifecycle",
	fx.Provide(
		events.New,
		func(b *events.Bus) port.EventPublisher { return b },
		newActor,
	),
)

// lifecyclePorts is lifecycle.Ports, filled by type.
type lifecyclePorts struct {
	fx.In
	Assets     port.BootAssets
	Store      port.MachineStore
	Disks      port.Disks
	Networks   port.Networks
	HostConfig port.HostConfig
	Shares     port.Shares
	Hypervisor port.Hypervisor
	Agents     port.Agents
	Logs       port.LogFiles
	Events     port.EventPublisher
	Log        *slog.Logger
}

func newActor(lc fx.Lifecycle, c Config, p lifecyclePorts) (*lifecycle.Actor, error) {
	a, err := lifecycle.New(lifecycleOptions(c), lifecycle.Ports{Assets: p.Assets, Store: p.Store, Disks: p.Disks, Networks: p.Networks,
		HostConfig: p.HostConfig, Shares: p.Shares, Hypervisor: p.Hypervisor, Agents: p.Agents, Logs: p.Logs, Events: p.Events, Log: p.Log})
	if err != nil {
		return nil, err
	}
	lc.Append(background(a.Run, a.Close))
	return a, nil
}

// background is a hook that runs f until the stop, which calls end, cancels
// f's context and waits for it.
func background(f func(context.Context), end func(context.Context) error) fx.Hook {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	return fx.Hook{
		OnStart: func(context.Context) error {
			go func() { defer close(done); f(ctx) }()
			return nil
		},
		OnStop: func(stop context.Context) error {
			var err error
			if end != nil {
				err = end(stop)
			}
			cancel()
			select {
			case <-done:
				return err
			case <-stop.Done():
				return stop.Err()
			}
		},
	}
}

var containersModule = fx.Module("containers",
	fx.Provide(
		newEngines, func(e *containers.Engines) port.Engines { return e },
		newForwards, func(f *containers.Forwards) (port.Forwards, port.Starts) { return f, f },
		containers.NewNames, // dnsModule makes port.Names of it
		newContainerWatcher, newContainerNetwork,
	),
	fx.Invoke(func(*containers.Network) {}),
)

func newEngines(lc fx.Lifecycle, c Config, vm *lifecycle.Actor, ev port.EventPublisher, log *slog.Logger) *containers.Engines {
	e := containers.New(containers.Options{StartupTimeout: c.Container.startupTimeout(), TCGFactor: c.VM.TCGTimeFactor,
		DockerPort: c.Container.GuestDockerVsockPort},
		map[domain.Role]containers.Machine{domain.RoleNative: {VM: vm, Memory: store.NewEngine(c.paths().RunDir(), domain.RoleNative, log)}}, ev, log)
	lc.Append(background(e.Run, nil))
	return e
}

var systemModule = fx.Module("system",
	fx.Provide(newSystem, newSpace, func(s *system.System) (port.System, port.Pruning) { return s, s }),
)

func newSystem(lc fx.Lifecycle, c Config, vm *lifecycle.Actor, engines port.Engines, a *appassets.Service, p *progress, bus *events.Bus, names *dns.Server, space system.Space, log *slog.Logger) (*system.System, error) {
	s, err := system.New(system.Options{Boot: system.BootMode(c.VM.Boot)}, system.Ports{
		Machines: map[domain.Role]*lifecycle.Actor{domain.RoleNative: vm},
		Engines:  engines, Assets: a, Events: bus, Network: func() error { return names.Status().Err }, Space: space, Log: log})
	if err != nil {
		return nil, err
	}
	report := s.AssetProgress
	p.to.Store(&report)
	lc.Append(background(s.Run, nil))
	return s, nil
}

var grpcModule = fx.Module("grpc",
	fx.Provide(
		fx.Annotate(newSystemService, fx.ResultTags(`group:"grpc"`)),
		fx.Annotate(newPortService, fx.ResultTags(`group:"grpc"`)),
		fx.Annotate(newMachineService, fx.ResultTags(`group:"grpc"`)),
		fx.Annotate(newGRPCServer, fx.ParamTags(``, ``, ``, ``, ``, `group:"grpc"`)),
	),
	fx.Invoke(func(*grpcapi.Server) {}),
)

func newSystemService(c Config, b Build, s port.System, pruning port.Pruning) grpcapi.Service {
	return grpcapi.NewSystemService(s, pruning, grpcapi.Build{Version: b.Version, Commit: b.Commit, Time: b.Time},
		grpcapi.Paths{DataDir: c.DataDir, DockerSocket: c.Docker.SocketPath, GRPCSocket: c.paths().GRPCSocket()})
}

// drainTimeout is how long open requests get when the daemon stops.
const drainTimeout = 5 * time.Second

func newGRPCServer(lc fx.Lifecycle, c Config, traces trace.TracerProvider, s port.System, log *slog.Logger, services []grpcapi.Service) *grpcapi.Server {
	server := grpcapi.NewServer(c.paths().GRPCSocket(), services, s, log,
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(traces))))
	lc.Append(fx.StartStopHook(server.Start, func(ctx context.Context) error {
		return bounded(ctx, drainTimeout, server.Close)
	}))
	return server
}

func bounded(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

var dockerModule = fx.Module("docker",
	fx.Provide(newDockerServer),
	fx.Invoke(func(*docker.Server) {}),
)

func newDockerServer(lc fx.Lifecycle, end *ending, c Config, engines port.Engines, starts port.Starts, creation *containers.Creation, log *slog.Logger) *docker.Server {
	s := docker.NewServer(docker.Options{Path: c.Docker.SocketPath, Wait: c.requestWait(), Create: creation.Create, Service: creation.Service, Starts: starts, Log: log}, engines)
	serve := background(func(ctx context.Context) {
		if err := s.Serve(ctx); err != nil {
			end.fail(fmt.Errorf("the Docker socket: %w", err))
		}
	}, func(ctx context.Context) error { return bounded(ctx, drainTimeout, s.Close) })
	start := serve.OnStart
	serve.OnStart = func(ctx context.Context) error {
		if err := s.Listen(); err != nil {
			return err
		}
		return start(ctx)
	}
	lc.Append(serve)
	return s
}

// requestWait is how long a request waits for the machine and its engine.
func (c Config) requestWait() time.Duration {
	return (c.VM.StartupTimeout + c.Container.startupTimeout()) * time.Duration(c.VM.TCGTimeFactor)
}
