package grpc

import (
	"context"
	"errors"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"arcbox/domain"
)

// Setup tells how far the daemon's start is; port.System is one.
type Setup interface {
	// WatchSetup is as in port.System; it may return domain.ErrUnavailable when f
	// was too slow.
	WatchSetup(ctx context.Context, f func(domain.SetupStatus) error) error
}

// initHealth says that every service is there, and the daemon not ready yet.
func (s *Server) initHealth() {
	for name := range s.server.GetServiceInfo() {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
}

// followSetup keeps the daemon's health equal to what its start has come to, until
// ctx ends.
func (s *Server) followSetup(ctx context.Context) {
	for {
		err := s.setup.WatchSetup(ctx, func(st domain.SetupStatus) error {
			serving := healthpb.HealthCheckResponse_NOT_SERVING
			if st.Phase == domain.PhaseReady {
				serving = healthpb.HealthCheckResponse_SERVING
			}
			s.health.SetServingStatus("", serving)
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, domain.ErrUnavailable):
			continue // it fell behind; a new watch begins with the newest
		}
		s.log.Error("the daemon's health is no longer known", "error", err)
		s.health.SetServingStatus("", healthpb.HealthCheckResponse_UNKNOWN)
		return
	}
}
