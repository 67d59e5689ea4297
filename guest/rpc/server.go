package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
	"arcbox/guest/clock"
	"arcbox/guest/hostsockets"
	"arcbox/guest/logring"
	"arcbox/guest/publish"
)

// The bounds of what the host can make the agent hold.
const (
	maxMessage  = 8 << 20 // certificates, or many changes
	maxStreams  = 64
	logChunk    = 32 << 10
	lingering   = time.Second // for the last answers when the server ends
	defaultWait = 25 * time.Second
	maxWait     = 10 * time.Minute
)

// Config is what the service works on.
type Config struct {
	Hello domain.AgentHello
	Hub   *Hub
	Logs  *logring.Store
	Clock *clock.Clock
	Ports *publish.Broker
	// Sockets lead to the host.
	Sockets *hostsockets.Server
	// Configure makes the guest what the host says.
	Configure func(domain.GuestConfig) error
	// Touch makes watchers in the guest see changes on the host.
	Touch func(context.Context, []domain.PathChange) error
	// Shutdown begins to shut the machine down, and returns at once. It is
	// called once.
	Shutdown func(grace time.Duration)
	// Trim gives unused blocks of the data disk back to the host.
	Trim func(context.Context) (uint64, error)
	Log  *slog.Logger
	// Heartbeat is the pause between heartbeats; 0 means domain.AgentHeartbeat.
	Heartbeat time.Duration
}

// Server is the agent's gRPC service.
type Server struct {
	agentv1.UnimplementedAgentServiceServer
	cfg      Config
	shutdown sync.Once
	ending   chan struct{}
}

// New returns a server. Serve may be called once.
func New(cfg Config) *Server {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = domain.AgentHeartbeat
	}
	return &Server{cfg: cfg, ending: make(chan struct{})}
}

// Serve serves l until ctx ends: then it ends the streams, lets calls that
// have begun finish for a moment, and closes everything. It returns nil after
// the end of ctx.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
	)
	agentv1.RegisterAgentServiceServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		close(s.ending)
		g.Stop()
		return fmt.Errorf("serve the agent's RPC: %w", err)
	case <-ctx.Done():
	}
	close(s.ending)
	force := time.AfterFunc(lingering, g.Stop)
	defer force.Stop()
	g.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve the agent's RPC: %w", err)
	}
	return nil
}

// Hello implements the RPC of this name.
func (s *Server) Hello(_ context.Context, req *agentv1.HelloRequest) (*agentv1.HelloResponse, error) {
	h := s.cfg.Hello
	if req.Protocol != h.Protocol {
		s.cfg.Log.Warn("host speaks another protocol", "host", req.Protocol, "agent", h.Protocol, "host_version", req.HostVersion)
	} else {
		_, _ = s.adjust("hello", req.HostTimeUnixNano) // it logs what went wrong; a hello succeeds all the same
	}
	return &agentv1.HelloResponse{Protocol: h.Protocol, Version: h.Version, Build: h.Build, BootId: h.BootID, Kernel: h.Kernel}, nil
}

// SetClock implements the RPC of this name.
func (s *Server) SetClock(_ context.Context, req *agentv1.SetClockRequest) (*agentv1.SetClockResponse, error) {
	step, err := s.adjust("tick", req.HostTimeUnixNano)
	switch {
	case errors.Is(err, domain.ErrInvalid):
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case err != nil:
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &agentv1.SetClockResponse{StepNanos: step.Nanoseconds()}, nil
}

func (s *Server) adjust(why string, unixNano int64) (time.Duration, error) {
	step, err := s.cfg.Clock.Adjust(time.Unix(0, unixNano))
	switch {
	case err != nil:
		s.cfg.Log.Warn("clock not set", "why", why, "error", err)
	case step != 0:
		s.cfg.Log.Info("clock set", "why", why, "step", step)
	}
	return step, err
}

// Watch implements the RPC of this name.
func (s *Server) Watch(_ *agentv1.WatchRequest, stream grpc.ServerStreamingServer[agentv1.WatchResponse]) error {
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	stepped := s.cfg.Hub.Stepped()
	for {
		current, changed := s.cfg.Hub.Status()
		if err := stream.Send(&agentv1.WatchResponse{Event: &agentv1.WatchResponse_Status{Status: toStatus(current)}}); err != nil {
			return err
		}
		for waiting := true; waiting; {
			select {
			case <-stream.Context().Done():
				return nil
			case <-s.ending:
				return nil
			case <-changed:
				waiting = false
			case <-stepped:
				stepped = s.cfg.Hub.Stepped()
				if err := sendBeat(stream); err != nil {
					return err
				}
			case <-beat.C:
				if err := sendBeat(stream); err != nil {
					return err
				}
			}
		}
	}
}

// sendBeat sends a sign of life with the time of now: a tick's own time is that
// of when it was due.
func sendBeat(stream grpc.ServerStreamingServer[agentv1.WatchResponse]) error {
	return stream.Send(&agentv1.WatchResponse{Event: &agentv1.WatchResponse_Heartbeat{
		Heartbeat: &agentv1.Heartbeat{GuestTimeUnixNano: time.Now().UnixNano()},
	}})
}

// Trim implements the RPC of this name.
func (s *Server) Trim(ctx context.Context, _ *agentv1.TrimRequest) (*agentv1.TrimResponse, error) {
	n, err := s.cfg.Trim(ctx)
	if err != nil {
		s.cfg.Log.Warn("unused blocks not given back", "error", err)
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	s.cfg.Log.Info("unused blocks given back", "bytes", n)
	return &agentv1.TrimResponse{TrimmedBytes: n}, nil
}

// Logs implements the RPC of this name.
func (s *Server) Logs(req *agentv1.LogsRequest, stream grpc.ServerStreamingServer[agentv1.LogsResponse]) error {
	ctx, cancel := s.untilEnd(stream.Context())
	defer cancel()
	positions := make(map[string]uint64, len(req.Positions))
	for _, p := range req.Positions {
		positions[p.Component] = p.Next
	}
	for {
		c, err := s.cfg.Logs.Next(ctx, positions, logChunk)
		if err != nil {
			return nil // the reader has gone, or the agent ends
		}
		if err := stream.Send(&agentv1.LogsResponse{Component: c.Component, Data: c.Data, Dropped: c.Dropped, Next: c.Next}); err != nil {
			return err
		}
	}
}

// untilEnd returns a context that ends with parent, with cancel, and with the
// server. cancel waits for what that takes.
func (s *Server) untilEnd(parent context.Context) (ctx context.Context, cancel func()) {
	ctx, end := context.WithCancel(parent)
	var ended sync.WaitGroup
	ended.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.ending:
			end()
		}
	})
	return ctx, func() {
		end()
		ended.Wait()
	}
}

// Shutdown implements the RPC of this name.
func (s *Server) Shutdown(_ context.Context, req *agentv1.ShutdownRequest) (*agentv1.ShutdownResponse, error) {
	grace := time.Duration(req.GraceSeconds) * time.Second
	switch {
	case grace > maxWait:
		return nil, status.Errorf(codes.InvalidArgument, "grace of %s: want at most %s", grace, maxWait)
	case grace == 0:
		grace = defaultWait
	}
	s.shutdown.Do(func() {
		s.cfg.Log.Info("shutdown asked for", "grace", grace)
		s.cfg.Shutdown(grace)
	})
	return &agentv1.ShutdownResponse{Accepted: true}, nil
}
