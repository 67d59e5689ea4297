package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.uber.org/dig"
	"go.uber.org/fx"

	"arcbox/adapters/daemon"
	"arcbox/adapters/docker"
	"arcbox/adapters/telemetry"
	"arcbox/application/system"
	"arcbox/domain"
)

// startTimeout bounds the start of the servers; the machine boots behind it.
const startTimeout = 30 * time.Second

// failedFlush lets those who watch the start see its last phase.
const failedFlush = 200 * time.Millisecond

// RunDaemon is the daemon: it returns when a signal, the end of ctx or a
// failed start has stopped it. The first signal stops everything in order, the
// second drops the machines. human, when not nil, receives the log in readable
// form; serving is called when the sockets are open.
func RunDaemon(ctx context.Context, c Config, b Build, human io.Writer, serving func()) (err error) {
	signals := make(chan os.Signal, 4) // armed before anything is there to clean up
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	if err := daemon.CheckSocketPath(c.Docker.SocketPath); err != nil {
		return err
	}
	lock, err := daemon.Acquire(c.paths())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := makeDirs(c); err != nil {
		return err
	}
	log, logFile, err := telemetry.NewLogger(telemetry.LoggerOptions{File: c.paths().Log(), Human: human, Level: c.Logging.Level})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	log.Info("daemon", "version", b.Version, "pid", os.Getpid(), "data", c.DataDir)
	defer func() { log.Info("daemon ends", "error", err) }()

	var sys *system.System
	end := newEnding()
	app := fx.New(Options(c, b, log), fx.Supply(end), fx.Populate(&sys), fx.StopTimeout(stopTimeout(c)))
	if err := app.Err(); err != nil {
		return fmt.Errorf("wiring the daemon: %w", dig.RootCause(err))
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := app.Start(starting); err != nil {
		return fmt.Errorf("starting the daemon: %w", dig.RootCause(err))
	}
	serving()
	select {
	case s := <-signals:
		log.Info("stopping", "signal", s.String())
	case <-end.asked:
		log.Info("stopping", "cause", end.error())
	case <-ctx.Done():
		log.Info("stopping", "cause", context.Cause(ctx))
	}
	return errors.Join(end.error(), stop(app, sys, signals, c, log))
}

// stop stops the app; a signal meanwhile drops the machines.
func stop(app *fx.App, sys *system.System, signals <-chan os.Signal, c Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout(c))
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- app.Stop(ctx) }()
	for {
		select {
		case err := <-stopped:
			return dig.RootCause(err)
		case s := <-signals:
			log.Warn("dropping the virtual machines", "signal", s.String())
			if err := sys.ShutdownForce(ctx); err != nil {
				log.Error("dropping the virtual machines", "error", err)
			}
		}
	}
}

// stopTimeout bounds the whole stop: open requests, then the guest in its own
// time, then what is killed.
func stopTimeout(c Config) time.Duration {
	t := lifecycleOptions(c).Timing
	return 3*drainTimeout + (t.StopGrace+t.StopCall)*time.Duration(c.VM.TCGTimeFactor) + t.Kill + t.Post
}

func makeDirs(c Config) error {
	for _, dir := range []string{"data", "log", "machines", "runtime/bin", "bin", "boot"} {
		if err := os.MkdirAll(filepath.Join(c.DataDir, filepath.FromSlash(dir)), 0o700); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// ending is how a part of the daemon ends all of it. (fx has a way of its own,
// which listens for signals too, and would take them from us.)
type ending struct {
	asked chan struct{}
	once  sync.Once
	err   error // valid after asked
}

func newEnding() *ending { return &ending{asked: make(chan struct{})} }

func (e *ending) fail(err error) {
	e.once.Do(func() {
		e.err = err
		close(e.asked)
	})
}

// error is why the daemon ends, nil when nobody asked for it.
func (e *ending) error() error {
	select {
	case <-e.asked:
		return e.err
	default:
		return nil
	}
}

// startModule brings the machine up behind the open sockets, and takes it down
// in order before they close.
var startModule = fx.Module("start",
	fx.Invoke(func(lc fx.Lifecycle, s *system.System, end *ending, c Config, d *docker.Server, log *slog.Logger) {
		lc.Append(fx.StopHook(func(ctx context.Context) error { return s.Shutdown(ctx) }))
		lc.Append(background(func(ctx context.Context) {
			keepContext(c, log)
			if err := s.Init(ctx); err != nil {
				if errors.Is(err, domain.ErrCanceled) {
					return
				}
				log.Error("the start failed", "error", err)
				select {
				case <-time.After(failedFlush):
				case <-ctx.Done():
				}
				end.fail(err)
			}
		}, nil))
	}),
)
