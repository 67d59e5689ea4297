package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"time"

	"arcbox/adapters/docker"
	"arcbox/application/port"
	"arcbox/domain"
)

// goroutines counts those of the Docker API's server before and after as many
// requests as the daemon got: the daemon does not tell its own, so the server
// runs in this program, with the daemon's socket in the place of the engine.
func goroutines(ctx context.Context, b *bench, path string, count, width int) (before, after int, err error) {
	socket := filepath.Join(b.dir, "s", "docker.sock")
	s := docker.NewServer(docker.Options{Path: socket}, oneEngine{path: b.socket()})
	if err := s.Listen(); err != nil {
		return 0, 0, err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	defer func() {
		err = errors.Join(err, s.Close(ctx), <-served)
	}()
	// The first request makes what stays.
	if _, err := parallel(ctx, socket, path, 1, 1); err != nil {
		return 0, 0, err
	}
	if before, err = settledGoroutines(ctx); err != nil {
		return 0, 0, err
	}
	if _, err := parallel(ctx, socket, path, count, width); err != nil {
		return 0, 0, err
	}
	if after, err = settledGoroutines(ctx); err != nil {
		return 0, 0, err
	}
	if n := s.Stats().Requests; n != uint64(count)+1 {
		return before, after, fmt.Errorf("the server counted %d requests of %d", n, count+1)
	}
	return before, after, nil
}

// settledGoroutines is their number once the ends of the last requests are over.
func settledGoroutines(ctx context.Context) (int, error) {
	if err := pause(ctx, 2*time.Second); err != nil {
		return 0, err
	}
	return runtime.NumGoroutine(), nil
}

// oneEngine is an engine at a Unix socket that always runs.
type oneEngine struct{ path string }

func (e oneEngine) EnsureReady(context.Context, domain.Role) (port.Engine, error) { return e, nil }
func (e oneEngine) Peek(domain.Role) (port.Engine, bool)                          { return e, true }
func (e oneEngine) Known(domain.Role) domain.EngineInfo                           { return domain.EngineInfo{} }
func (e oneEngine) Hold(domain.Role) (release func())                             { return func() {} }
func (e oneEngine) Generation() uint64                                            { return 1 }
func (e oneEngine) Gone() <-chan struct{}                                         { return nil }

func (e oneEngine) Dial(ctx context.Context) (port.Stream, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", e.path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
