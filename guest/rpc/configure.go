package rpc

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

// maxGuestSockets is more than a host has services.
const maxGuestSockets = 64

// Configure implements the RPC of this name.
func (s *Server) Configure(_ context.Context, req *agentv1.ConfigureRequest) (*agentv1.ConfigureResponse, error) {
	if n := len(req.GetShares()); n > domain.MaxShares {
		return nil, status.Errorf(codes.InvalidArgument, "%d shares: want at most %d", n, domain.MaxShares)
	}
	if n := len(req.GetSockets()); n > maxGuestSockets {
		return nil, status.Errorf(codes.InvalidArgument, "%d sockets: want at most %d", n, maxGuestSockets)
	}
	if err := s.cfg.Configure(toGuestConfig(req)); err != nil {
		s.cfg.Log.Error("guest not configured as the host wants it", "error", err)
		return nil, hostError(err)
	}
	return &agentv1.ConfigureResponse{}, nil
}

// Touch implements the RPC of this name.
func (s *Server) Touch(ctx context.Context, req *agentv1.TouchRequest) (*agentv1.TouchResponse, error) {
	if n := len(req.GetChanges()); n > domain.MaxPathChanges {
		return nil, status.Errorf(codes.InvalidArgument, "%d changes: want at most %d", n, domain.MaxPathChanges)
	}
	if err := s.cfg.Touch(ctx, toPathChanges(req.GetChanges())); err != nil {
		return nil, hostError(err)
	}
	return &agentv1.TouchResponse{}, nil
}

// hostError is err for the host.
func hostError(err error) error {
	text := err.Error()
	if h := domain.Hint(err); h != "" {
		text += " (" + h + ")"
	}
	code := codes.Internal
	switch {
	case errors.Is(err, domain.ErrInvalid):
		code = codes.InvalidArgument
	case errors.Is(err, domain.ErrInvalidState):
		code = codes.FailedPrecondition
	case errors.Is(err, domain.ErrUnavailable):
		code = codes.Unavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, strings.ToValidUTF8(text, "?"))
}
