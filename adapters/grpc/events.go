package grpc

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

// Events implements the method of that name.
func (s *SystemService) Events(req *arcboxv1.EventsRequest, stream grpc.ServerStreamingServer[arcboxv1.Event]) error {
	wanted, err := eventFilter(req.Filters)
	if err != nil {
		return err
	}
	lost := 0 // since the last event that was sent
	return s.system.Watch(stream.Context(), func(e domain.Event, missed int) error {
		lost += missed
		if !wanted(e) {
			return nil
		}
		told := lost
		lost = 0
		return stream.Send(&arcboxv1.Event{Time: timestamppb.New(e.Time), Kind: string(e.Kind), Machine: string(e.Machine),
			Detail: e.Detail, Missed: uint32(told)})
	})
}

// eventFilter says which events pass. It returns domain.ErrInvalid for a key that
// it does not know, since a filter that does nothing misleads.
func eventFilter(filters map[string]string) (func(domain.Event) bool, error) {
	for _, key := range slices.Sorted(maps.Keys(filters)) {
		if key != "kind" && key != "machine" {
			return nil, fmt.Errorf("filter %q: want kind or machine: %w", key, domain.ErrInvalid)
		}
	}
	kind, byKind := filters["kind"]
	machine, byMachine := filters["machine"]
	return func(e domain.Event) bool {
		return (!byKind || string(e.Kind) == kind) && (!byMachine || string(e.Machine) == machine)
	}, nil
}
