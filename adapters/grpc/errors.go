package grpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"arcbox/domain"
)

// errorDomain is the domain of every ErrorInfo.
const errorDomain = "arcbox"

// retryDelay is what clients are told to wait when something is unavailable.
const retryDelay = time.Second

// kind is what clients see of a kind of failure. Reasons are part of the API:
// docs/api.md lists them.
type kind struct {
	err    error
	code   codes.Code
	reason string
	retry  bool
}

// internal is every failure that nobody has given a kind.
var internal = kind{code: codes.Internal, reason: "INTERNAL"}

// kinds lists the domain's failures, each before the kind that it belongs to: the
// first that an error wraps decides.
var kinds = []kind{
	{err: domain.ErrNotRunning, code: codes.Unavailable, reason: "NOT_RUNNING", retry: true},
	{err: domain.ErrForceStopped, code: codes.Unavailable, reason: "FORCE_STOPPED", retry: true},
	// Who tries again would meet the next daemon, if there is one.
	{err: domain.ErrShuttingDown, code: codes.Unavailable, reason: "SHUTTING_DOWN"},
	{err: domain.ErrStarting, code: codes.Unavailable, reason: "STARTING", retry: true},
	{err: domain.ErrAgentLost, code: codes.Unavailable, reason: "AGENT_LOST", retry: true},
	{err: domain.ErrAlreadyRunning, code: codes.AlreadyExists, reason: "ALREADY_RUNNING"},
	{err: domain.ErrProtocol, code: codes.FailedPrecondition, reason: "AGENT_PROTOCOL"},
	{err: domain.ErrChecksum, code: codes.DataLoss, reason: "CHECKSUM"},

	{err: domain.ErrInvalid, code: codes.InvalidArgument, reason: "INVALID_ARGUMENT"},
	{err: domain.ErrNotFound, code: codes.NotFound, reason: "NOT_FOUND"},
	{err: domain.ErrAlreadyExists, code: codes.AlreadyExists, reason: "ALREADY_EXISTS"},
	{err: domain.ErrConflict, code: codes.Aborted, reason: "CONFLICT"},
	{err: domain.ErrInvalidState, code: codes.FailedPrecondition, reason: "INVALID_STATE"},
	{err: domain.ErrTimeout, code: codes.DeadlineExceeded, reason: "TIMEOUT"},
	{err: context.DeadlineExceeded, code: codes.DeadlineExceeded, reason: "TIMEOUT"},
	{err: domain.ErrPermission, code: codes.PermissionDenied, reason: "PERMISSION_DENIED"},
	{err: domain.ErrUnsupported, code: codes.FailedPrecondition, reason: "UNSUPPORTED"},
	{err: domain.ErrUnavailable, code: codes.Unavailable, reason: "UNAVAILABLE", retry: true},
	{err: domain.ErrCorrupt, code: codes.DataLoss, reason: "CORRUPT"},
	{err: domain.ErrCanceled, code: codes.Canceled, reason: "CANCELED"},
	{err: context.Canceled, code: codes.Canceled, reason: "CANCELED"},
}

func kindOf(err error) kind {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k
		}
	}
	return internal
}

// toStatus makes a gRPC status of an error of the use-cases. What is one already,
// such as the transport's, stays; a status that an error only wraps came from
// somewhere else, such as the guest, and says nothing about this call.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	k := kindOf(err)
	if _, is := err.(interface{ GRPCStatus() *status.Status }); is && k == internal {
		return err
	}
	return k.status(err.Error(), domain.Hint(err), nil)
}

// status is the error that clients see: the kind's code and details with these
// texts. It takes metadata over.
func (k kind) status(text, hint string, metadata map[string]string) error {
	info := &errdetails.ErrorInfo{Reason: k.reason, Domain: errorDomain, Metadata: metadata}
	details := []protoadapt.MessageV1{info}
	if hint != "" {
		if info.Metadata == nil {
			info.Metadata = map[string]string{}
		}
		info.Metadata["hint"] = hint
		details = append(details, &errdetails.LocalizedMessage{Locale: "en", Message: hint})
	}
	if k.retry {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})
	}
	st := status.New(k.code, text)
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}

// mapping is the interceptors that give every error of a handler its status.
type mapping struct{ log *slog.Logger }

func (m mapping) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	return resp, m.of(info.FullMethod, err)
}

func (m mapping) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return m.of(info.FullMethod, next(srv, stream))
}

func (m mapping) of(method string, err error) error {
	err = notServed(method, toStatus(err))
	if status.Code(err) == codes.Internal {
		m.log.Error("a call failed", "method", method, "error", err)
	}
	return err
}
