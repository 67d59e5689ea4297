// Package grpc serves the API for IDEs and the command line on a Unix socket.
package grpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"arcbox/adapters/internal/localsocket"
)

// Service registers one service with the server.
type Service interface {
	Register(grpc.ServiceRegistrar)
}

// Server is the gRPC server of the daemon.
type Server struct {
	path   string
	log    *slog.Logger
	setup  Setup
	server *grpc.Server
	health *health.Server
	ending *ending
	close  context.CancelFunc // ends ending.closing
	run    sync.WaitGroup
	err    error // valid after run
}

// maxRequest bounds a client's message, in bytes.
const maxRequest = 4 << 20

// NewServer makes a server for the socket at path: services, what a later version
// serves, health that follows setup, and reflection. The options are for
// instrumentation.
func NewServer(path string, services []Service, setup Setup, log *slog.Logger, opts ...grpc.ServerOption) *Server {
	closing, cancel := context.WithCancel(context.Background())
	end, m := &ending{closing: closing}, mapping{log}
	opts = append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Clients that watch may ping to learn of a daemon that is gone; 10 s is
		// the least that gRPC's own clients do.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 9 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(m.unary, end.unary),
		grpc.ChainStreamInterceptor(m.stream, end.stream),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.WaitForHandlers(true),
	}, opts...)
	s := &Server{path: path, log: log, setup: setup, server: grpc.NewServer(opts...), health: health.NewServer(), ending: end, close: cancel}
	for _, svc := range services {
		svc.Register(s.server)
	}
	registerLater(s.server)
	healthpb.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
	s.initHealth()
	return s
}

// Start binds the socket, mode 0600, and serves until Close. A socket file
// that a dead daemon left is replaced: the caller holds the daemon's lock. It
// returns localsocket.Listen's errors. Only the user's own processes are served.
func (s *Server) Start(context.Context) error {
	l, err := localsocket.Listen(s.path, s.log)
	if err != nil {
		return fmt.Errorf("gRPC socket: %w", err)
	}
	s.serve(l)
	return nil
}

func (s *Server) serve(l net.Listener) {
	s.run.Go(func() {
		// A server that is stopped before it has begun says so; that is no failure.
		if err := s.server.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
			s.err = err
		}
	})
	s.run.Go(func() { s.followSetup(s.ending.closing) })
}

// Close stops taking calls, ends those under way, waits for them until ctx ends,
// then drops their connections, and removes the socket. It is called after Start.
func (s *Server) Close(ctx context.Context) error {
	s.health.Shutdown()
	s.close()
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.server.GracefulStop() }()
	select {
	case <-stopped:
	case <-ctx.Done():
		s.server.Stop()
		<-stopped
	}
	s.run.Wait()
	s.ending.reads.Wait()
	return s.err
}
