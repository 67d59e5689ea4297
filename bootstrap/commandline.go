package bootstrap

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"arcbox/adapters/cli"
	"arcbox/adapters/daemon"
	"arcbox/adapters/docker"
	"arcbox/adapters/telemetry"
	appassets "arcbox/application/assets"
	"arcbox/domain"
)

// CommandLine returns what the commands work with. Nothing is read or made
// before a command asks for it.
func CommandLine(b Build, environ []string) cli.Deps {
	load := func(o cli.Overrides) (Config, error) { return LoadConfig(ConfigFiles(), environ, o) }
	return cli.Deps{
		Build: cli.Build{Version: b.Version, Commit: b.Commit, Time: b.Time},
		Settings: func(o cli.Overrides) (cli.Settings, error) {
			c, err := load(o)
			return c.settings(), err
		},
		Daemon: func(o cli.Overrides) (cli.Daemon, error) {
			c, err := load(o)
			return &daemonProcess{config: c, build: b}, err
		},
		Boot: func(o cli.Overrides) (cli.Boot, error) {
			c, err := load(o)
			if err != nil {
				return nil, err
			}
			a, err := newAssets(c, b, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				return nil, err
			}
			return &bootFiles{c, a}, nil
		},
		Docker: func(o cli.Overrides) (cli.DockerContext, error) {
			c, err := load(o)
			return &dockerContext{c.dockerContext()}, err
		},
		Config: func(o cli.Overrides) cli.Config {
			return &configCommand{files: ConfigFiles(), environ: environ, flags: o}
		},
		Host: func(o cli.Overrides) (cli.Host, error) {
			c, err := load(o)
			if err != nil {
				c.DataDir = defaultDataDir() // a mistake in the configuration is told elsewhere
			}
			return &hostFacts{config: c}, nil
		},
		Network: func(o cli.Overrides) (cli.Network, error) {
			return newHostNetwork(func(files []string) (Config, error) { return LoadConfig(files, environ, o) }), nil
		},
		DNS: func(o cli.Overrides) (cli.DNS, error) {
			c, err := load(o)
			if err != nil {
				return nil, err
			}
			return newHostResolver(c)
		},
		Logs: func(o cli.Overrides) (cli.Logs, error) {
			c, err := load(o)
			return &logFiles{telemetry.NewLogFiles(c.paths().LogDir())}, err
		},
	}
}

func (c Config) settings() cli.Settings {
	return cli.Settings{DataDir: c.DataDir, DockerSocket: c.Docker.SocketPath, GRPCSocket: c.paths().GRPCSocket(), DaemonLog: c.paths().Log(), Kernel: c.VM.KernelPath}
}

func (c Config) dockerContext() *docker.Context {
	return docker.NewContext("", c.Docker.SocketPath)
}

// daemonProcess is the daemon of one configuration.
type daemonProcess struct {
	config Config
	build  Build
}

func (d *daemonProcess) Run(ctx context.Context, foreground bool, ready func(cli.Settings)) error {
	var human io.Writer
	if foreground {
		human = os.Stderr
	}
	// Signals are the daemon's own business: it tells the second from the first.
	return RunDaemon(context.WithoutCancel(ctx), d.config, d.build, human, func() { ready(d.config.settings()) })
}

func (d *daemonProcess) Spawn(ctx context.Context, args []string, ready func(context.Context) bool) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	return daemon.Spawn(ctx, d.config.paths(), self, args, ready)
}

func (d *daemonProcess) Stop(ctx context.Context, force bool) (bool, error) {
	return daemon.Stop(ctx, d.config.paths(), force)
}

func (d *daemonProcess) Probe() (int, bool, error) { return daemon.Probe(d.config.paths()) }

// logFiles are those of the default machine and of the daemon.
type logFiles struct{ files *telemetry.LogFiles }

func (l *logFiles) Path(component string) string {
	return l.files.Path(domain.DefaultMachine, component)
}

func (l *logFiles) Tail(component string, n int) ([]string, error) {
	return l.files.Tail(domain.DefaultMachine, component, n)
}

// dockerContext shows the adapter's Docker context to the command line.
type dockerContext struct{ context *docker.Context }

func (d *dockerContext) Enable() error  { return d.context.Enable() }
func (d *dockerContext) Disable() error { return d.context.Disable() }

func (d *dockerContext) Status() (cli.DockerStatus, error) {
	st, err := d.context.Status()
	return cli.DockerStatus{ContextExists: st.Exists, Current: st.Current, SocketPath: st.SocketPath, SocketExists: st.SocketExists,
		Overridden: st.OverriddenBy}, err
}

// keepContext makes the Docker context if it is absent. The daemon of the
// default data directory refreshes it too; one of another directory, such as
// a test's, leaves a context that is there alone.
func keepContext(c Config, log *slog.Logger) {
	if !c.Docker.Context {
		return
	}
	d := c.dockerContext()
	st, err := d.Status()
	if err == nil && !st.Exists && (st.Elsewhere == "" || c.DataDir == defaultDataDir()) {
		err = d.Ensure()
	}
	if err != nil {
		log.Warn("the Docker context was not written", "error", err)
	}
}

// bootFiles shows the asset set to the command line.
type bootFiles struct {
	config Config
	assets *appassets.Service
}

func (b *bootFiles) Prefetch(ctx context.Context, force bool, progress func(domain.AssetProgress)) error {
	_, err := b.assets.Prefetch(ctx, force, progress)
	return err
}

func (b *bootFiles) Status(ctx context.Context, offline bool) (cli.BootStatus, error) {
	st, err := b.assets.Status(ctx, offline)
	return cli.BootStatus{Version: st.Version, Arch: string(st.Arch), CacheDir: filepath.Join(b.config.DataDir, "boot"), Source: st.Source,
		Pinned: st.Pinned, Cached: st.Cached, LatestVersion: st.Latest, UpdateAvailable: st.UpdateAvailable}, err
}

func (b *bootFiles) List(ctx context.Context) ([]string, error)  { return b.assets.List(ctx) }
func (b *bootFiles) Clear(ctx context.Context) ([]string, error) { return b.assets.Clear(ctx) }

var errNoAssets = domain.WithHint(fmt.Errorf("this arcbox was built without a guest: %w", domain.ErrNotFound),
	"build one with make guest, or name one with assets.source and assets.version")
