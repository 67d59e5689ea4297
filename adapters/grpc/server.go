// Package grpc serves the API for IDEs and the command line on a Unix socket.
package grpc

import (
	"context"
	"fmt"
	"log/slog"
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
	server *grpc.Server
	health *health.Server
	served chan struct{}
	err    error
}

// NewServer makes a server for the socket at path. The options are for
// instrumentation.
func NewServer(path string, services []Service, log *slog.Logger, opts ...grpc.ServerOption) *Server {
	opts = append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(4 << 20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.ChainUnaryInterceptor(unaryErrors),
		grpc.ChainStreamInterceptor(streamErrors),
	}, opts...)
	s := &Server{path: path, log: log, server: grpc.NewServer(opts...), health: health.NewServer(), served: make(chan struct{})}
	for _, svc := range services {
		svc.Register(s.server)
	}
	healthpb.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
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
	go func() {
		defer close(s.served)
		s.err = s.server.Serve(l)
	}()
	return nil
}

// Close stops taking calls, ends streams, waits for the calls under way until
// ctx ends, and removes the socket.
func (s *Server) Close(ctx context.Context) error {
	s.health.Shutdown()
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.server.GracefulStop() }()
	select {
	case <-stopped:
	case <-ctx.Done():
		s.server.Stop()
		<-stopped
	}
	<-s.served
	return s.err
}
