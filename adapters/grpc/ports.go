package grpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// PortService is arcbox.v1.PortService.
type PortService struct {
	arcboxv1.UnimplementedPortServiceServer
	forwards port.Forwards
}

// NewPortService serves the forwards.
func NewPortService(forwards port.Forwards) *PortService {
	return &PortService{forwards: forwards}
}

// Register implements Service.
func (s *PortService) Register(r grpc.ServiceRegistrar) { arcboxv1.RegisterPortServiceServer(r, s) }

// List implements the method of that name.
func (s *PortService) List(context.Context, *arcboxv1.ListPortsRequest) (*arcboxv1.PortList, error) {
	return portList(s.forwards.Forwards()), nil
}

// Watch implements the method of that name.
func (s *PortService) Watch(_ *arcboxv1.WatchPortsRequest, stream grpc.ServerStreamingServer[arcboxv1.PortList]) error {
	return s.forwards.WatchForwards(stream.Context(), func(list []domain.ForwardStatus) error {
		return stream.Send(portList(list))
	})
}

func portList(list []domain.ForwardStatus) *arcboxv1.PortList {
	out := &arcboxv1.PortList{Ports: make([]*arcboxv1.Port, 0, len(list))}
	for _, f := range list {
		p := &arcboxv1.Port{ContainerId: f.Rule.Owner, ContainerName: f.Container, Protocol: string(f.Rule.Protocol),
			HostIp: f.Rule.Host.Addr().String(), HostPort: uint32(f.Rule.Host.Port()),
			TargetIp: f.Rule.Target.Addr().String(), TargetPort: uint32(f.Rule.Target.Port()),
			State: string(f.State), Reason: f.Reason, Flows: f.Stats.Flows, TotalFlows: f.Stats.Total,
			LimitedFlows: f.Stats.Limited, FailedFlows: f.Stats.Failed, BytesIn: f.Stats.In, BytesOut: f.Stats.Out}
		if !f.Since.IsZero() {
			p.Since = timestamppb.New(f.Since)
		}
		out.Ports = append(out.Ports, p)
	}
	return out
}
