package rpc

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
	"arcbox/guest/hostsockets"
)

// OfferSocket implements the RPC of this name.
func (s *Server) OfferSocket(_ context.Context, req *agentv1.OfferSocketRequest) (*agentv1.OfferSocketResponse, error) {
	path, err := s.cfg.Sockets.Offer(req.GetHostPath())
	if err != nil {
		s.cfg.Log.Warn("socket of the host not offered", "error", err)
		text := err.Error()
		if h := domain.Hint(err); h != "" {
			text += " (" + h + ")"
		}
		return nil, status.Error(socketCode(err), text)
	}
	return &agentv1.OfferSocketResponse{GuestPath: path}, nil
}

func socketCode(err error) codes.Code {
	switch {
	case errors.Is(err, domain.ErrInvalid):
		return codes.InvalidArgument
	case errors.Is(err, domain.ErrInvalidState):
		return codes.FailedPrecondition
	case errors.Is(err, domain.ErrConflict):
		return codes.ResourceExhausted
	}
	return codes.Internal
}

// Sockets implements the RPC of this name.
func (s *Server) Sockets(stream grpc.BidiStreamingServer[agentv1.SocketsRequest, agentv1.SocketsResponse]) error {
	ctx, cancel := s.untilEnd(stream.Context())
	defer cancel()
	host := s.cfg.Sockets.Attach()
	defer host.Close()
	// It ends as the reader of Forwards does.
	go func() {
		defer host.Close()
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			if id := m.GetRefused(); id != "" {
				host.Refuse(id, m.GetReason())
			}
		}
	}()
	for {
		c, err := host.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil // the host has gone, or the agent ends
			}
			return status.Error(codes.Aborted, err.Error())
		}
		if err := stream.Send(toSockets(c)); err != nil {
			return err
		}
	}
}

func toSockets(c hostsockets.Connection) *agentv1.SocketsResponse {
	m := &agentv1.SocketsResponse{Connection: c.ID}
	if c.To.Service != "" {
		m.To = &agentv1.SocketsResponse_Service{Service: c.To.Service}
	} else {
		m.To = &agentv1.SocketsResponse_HostPath{HostPath: c.To.HostPath}
	}
	return m
}
