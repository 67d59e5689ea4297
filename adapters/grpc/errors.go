package grpc

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"arcbox/domain"
)

// kinds maps the domain's kinds of failure to codes and stable reasons. The
// first that an error wraps decides.
var kinds = []struct {
	err    error
	code   codes.Code
	reason string
}{
	{domain.ErrInvalid, codes.InvalidArgument, "INVALID_ARGUMENT"},
	{domain.ErrNotFound, codes.NotFound, "NOT_FOUND"},
	{domain.ErrAlreadyExists, codes.AlreadyExists, "ALREADY_EXISTS"},
	{domain.ErrConflict, codes.Aborted, "CONFLICT"},
	{domain.ErrInvalidState, codes.FailedPrecondition, "INVALID_STATE"},
	{domain.ErrTimeout, codes.DeadlineExceeded, "TIMEOUT"},
	{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT"},
	{domain.ErrPermission, codes.PermissionDenied, "PERMISSION_DENIED"},
	{domain.ErrUnsupported, codes.FailedPrecondition, "UNSUPPORTED"},
	{domain.ErrUnavailable, codes.Unavailable, "UNAVAILABLE"},
	{domain.ErrCorrupt, codes.DataLoss, "CORRUPT"},
	{domain.ErrCanceled, codes.Canceled, "CANCELED"},
	{context.Canceled, codes.Canceled, "CANCELED"},
}

// toStatus makes a gRPC status of an error of the use-cases.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code, reason := codes.Internal, "INTERNAL"
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			code, reason = k.code, k.reason
			break
		}
	}
	st := status.New(code, err.Error())
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "arcbox"}
	if hint := domain.Hint(err); hint != "" {
		info.Metadata = map[string]string{"hint": hint}
	}
	if with, err := st.WithDetails(info); err == nil {
		st = with
	}
	return st.Err()
}

func unaryErrors(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	return resp, toStatus(err)
}

func streamErrors(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return toStatus(next(srv, stream))
}
