package grpc

import (
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
	sandboxv1 "arcbox/api/sandbox/v1"
)

// This file is what the daemon says of the parts of the API that it does not
// serve. The comments of the protobuf files say so too, and a test compares.

var (
	later   = kind{code: codes.Unimplemented, reason: "NOT_SERVED_YET"}
	unknown = kind{code: codes.Unimplemented, reason: "UNKNOWN_METHOD"}
)

// registerLater registers the services of which nothing is served, so that
// reflection shows them.
func registerLater(r grpc.ServiceRegistrar) {
	arcboxv1.RegisterKubernetesServiceServer(r, arcboxv1.UnimplementedKubernetesServiceServer{})
	arcboxv1.RegisterMigrationServiceServer(r, arcboxv1.UnimplementedMigrationServiceServer{})
	arcboxv1.RegisterStatsServiceServer(r, arcboxv1.UnimplementedStatsServiceServer{})
	arcboxv1.RegisterIconServiceServer(r, arcboxv1.UnimplementedIconServiceServer{})
	sandboxv1.RegisterSandboxServiceServer(r, sandboxv1.UnimplementedSandboxServiceServer{})
	sandboxv1.RegisterSandboxSnapshotServiceServer(r, sandboxv1.UnimplementedSandboxSnapshotServiceServer{})
}

// notServed replaces what generated code answers for a method without a handler.
func notServed(method string, err error) error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.Unimplemented || len(st.Details()) > 0 {
		return err
	}
	name := strings.TrimPrefix(method, "/")
	return later.status(fmt.Sprintf("%s comes with a later version of ArcBox", name),
		"see docs/api.md for what this version serves", map[string]string{"method": name})
}

// dockers are services that ArcBox's API once named and nobody ever served: what
// they were for, the Docker API does.
var dockers = []string{"arcbox.v1.ContainerService", "arcbox.v1.ImageService", "arcbox.v1.NetworkService", "arcbox.v1.VolumeService"}

// unknownMethod answers calls of methods that are not part of the API.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	name := strings.TrimPrefix(method, "/")
	hint := "is the client of another version than the daemon? arcbox version and SystemService.GetVersion tell"
	for _, service := range dockers {
		if strings.HasPrefix(name, service+"/") {
			hint = "the Docker API does that, on the socket that SystemService.GetInfo names"
		}
	}
	return unknown.status(fmt.Sprintf("this daemon has no method %q", name), hint, map[string]string{"method": name})
}
