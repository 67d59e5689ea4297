package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
	"arcbox/guest/publish"
)

// Forwards implements the RPC of this name.
func (s *Server) Forwards(stream grpc.BidiStreamingServer[agentv1.ForwardsRequest, agentv1.ForwardsResponse]) error {
	ctx, cancel := s.untilEnd(stream.Context())
	defer cancel()
	host := s.cfg.Ports.Attach()
	defer host.Close()
	// It ends when the host closes its side, or with the stream's context, which
	// ends when this function has returned: gRPC lets nobody wait for it in here.
	go func() {
		defer host.Close()
		hear(stream, host)
	}()
	for {
		event, err := host.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil // the host has gone, or the agent ends
			}
			return status.Error(codes.Aborted, err.Error())
		}
		if err := stream.Send(toForwards(event)); err != nil {
			return err
		}
	}
}

func hear(stream grpc.BidiStreamingServer[agentv1.ForwardsRequest, agentv1.ForwardsResponse], host *publish.Host) {
	for {
		m, err := stream.Recv()
		if err != nil {
			return
		}
		switch e := m.Event.(type) {
		case *agentv1.ForwardsRequest_Answer:
			host.Answer(e.Answer.GetId(), e.Answer.GetError())
		case *agentv1.ForwardsRequest_Released:
			host.Released(e.Released.GetId())
		}
	}
}

func toForwards(e publish.Event) *agentv1.ForwardsResponse {
	switch e := e.(type) {
	case publish.Snapshot:
		s := &agentv1.ForwardSnapshot{}
		for _, l := range e.Leases {
			s.Leases = append(s.Leases, toLease(l))
		}
		return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Snapshot{Snapshot: s}}
	case publish.Bind:
		return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Bind{Bind: toLease(e.Lease)}}
	case publish.Release:
		return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Release{Release: &agentv1.ForwardRelease{Id: e.ID}}}
	case publish.Listeners:
		l := &agentv1.GuestListeners{}
		for _, s := range e.Sockets {
			l.Listeners = append(l.Listeners, &agentv1.GuestListener{
				Container: s.Container, Protocol: toProtocol(s.Protocol),
				Ip: s.Addr.Addr().AsSlice(), Port: uint32(s.Addr.Port()), DualStack: s.DualStack,
			})
		}
		return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Listeners{Listeners: l}}
	}
	return &agentv1.ForwardsResponse{} // there are no others
}

func toLease(l publish.Lease) *agentv1.ForwardLease {
	return &agentv1.ForwardLease{
		Id: l.ID, Protocol: toProtocol(l.Rule.Protocol),
		HostIp: l.Rule.Host.Addr().AsSlice(), HostPort: uint32(l.Rule.Host.Port()),
		ContainerIp: l.Rule.Target.Addr().AsSlice(), ContainerPort: uint32(l.Rule.Target.Port()),
	}
}

func toProtocol(p domain.Protocol) agentv1.ForwardProtocol {
	switch p {
	case domain.TCP:
		return agentv1.ForwardProtocol_FORWARD_PROTOCOL_TCP
	case domain.UDP:
		return agentv1.ForwardProtocol_FORWARD_PROTOCOL_UDP
	}
	return agentv1.ForwardProtocol_FORWARD_PROTOCOL_UNSPECIFIED
}
