package bootstrap

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/fx"

	"arcbox/adapters/hostconfig"
	"arcbox/adapters/hostsocket"
	"arcbox/adapters/hostwatch"
	"arcbox/adapters/share"
	"arcbox/application/containers"
	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

// sharedDirs are the directories that the guest gets, as the configuration has
// them.
type sharedDirs []domain.Share

// filesModule is what containers have of the host beside its network.
var filesModule = fx.Module("files",
	fx.Provide(
		func(c Config) (sharedDirs, error) { return c.shares() },
		func() port.HostPaths { return share.NewHostPaths() },
		newHostConfig, func(s *hostconfig.Source) port.HostConfig { return s },
		newWatches, newSockets, newCreation,
	),
	fx.Invoke(followHostConfig),
)

func newHostConfig(c Config, shares sharedDirs, log *slog.Logger) (*hostconfig.Source, error) {
	return hostconfig.New(hostconfig.Options{Shares: shares, Proxy: c.Proxy.proxy(), ProxyMode: domain.ProxyMode(c.Proxy.Mode),
		Environ: os.Environ(), Gateway: c.Network.gateway(), SSHAgent: true, Log: log})
}

// followHostConfig tells a running guest what has changed of the host.
func followHostConfig(lc fx.Lifecycle, s *hostconfig.Source, vm *lifecycle.Actor, log *slog.Logger) {
	lc.Append(background(func(ctx context.Context) {
		err := s.Watch(ctx, func() {
			if err := reconfigure(ctx, s, vm); err != nil && ctx.Err() == nil {
				log.Warn("the guest was not told what changed of the host", "error", err)
			}
		})
		if err != nil && ctx.Err() == nil {
			log.Warn("changes of the host's certificates, proxies and time zone are taken up with the next boot", "error", err)
		}
	}, nil))
}

// configureLimit is how long a running guest may take for its configuration.
const configureLimit = 30 * time.Second

// reconfigure tells the guest that runs; one that boots reads it by itself.
func reconfigure(ctx context.Context, s *hostconfig.Source, vm *lifecycle.Actor) error {
	run := vm.Snapshot().Instance
	if run == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, configureLimit)
	defer cancel()
	g, err := s.GuestConfig(ctx)
	if err != nil {
		return err
	}
	return run.Session().Configure(ctx, g)
}

func newWatches(c Config, shares sharedDirs, guest port.GuestWrites, paths port.HostPaths, ev port.EventPublisher, log *slog.Logger) *containers.Watches {
	trees := hostwatch.New(hostwatch.Options{Limit: c.VM.WatchLimit, Guest: guest, Hidden: c.hiddenDirs(), Log: log})
	return containers.NewWatches(containers.WatchOptions{Enabled: c.VM.Watch, Shares: shares}, trees, paths, ev, log)
}

// hiddenDirs are the paths of the directory that no guest sees.
func (c Config) hiddenDirs() []string {
	dirs := []string{c.DataDir}
	if real, err := filepath.EvalSymlinks(c.DataDir); err == nil && real != c.DataDir {
		dirs = append(dirs, real)
	}
	return dirs
}

// sshAgent is the socket of the user's SSH agent; empty when there is none.
func (c Config) sshAgent() string { return cmp.Or(c.Docker.SSHAgent, os.Getenv("SSH_AUTH_SOCK")) }

func newSockets(c Config, shares sharedDirs, paths port.HostPaths, log *slog.Logger) *containers.Sockets {
	return containers.NewSockets(containers.SocketOptions{Shares: shares, DataDir: c.DataDir, SSHAgent: c.sshAgent(), Paths: paths},
		hostsocket.Dialer{}, log)
}

func newCreation(c Config, shares sharedDirs, paths port.HostPaths, host *hostconfig.Source, engines *containers.Engines) *containers.Creation {
	o := containers.CreationOptions{Route: routeCreate(c.DataDir), Shares: shares, DataDir: c.DataDir,
		DockerSockets: []string{c.Docker.SocketPath, filepath.Join(c.DataDir, "run", "docker.sock")},
		SSHAuthSock:   c.sshAgent(), Paths: paths, CACertificates: c.Container.CACertificates}
	if c.Container.Proxies {
		o.ContainerEnv = func(ctx context.Context) ([]string, error) {
			return domain.ProxyEnv(host.Proxy(ctx)), ctx.Err()
		}
	}
	return containers.NewCreation(o, engines)
}
