package grpc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"arcbox/domain"
)

// detail returns the detail of type D.
func detail[D any](t *testing.T, err error) D {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if d, ok := d.(D); ok {
			return d
		}
	}
	var none D
	require.Failf(t, "no detail", "%v has no %T", err, none)
	return none
}

func reason(t *testing.T, err error) string {
	info := detail[*errdetails.ErrorInfo](t, err)
	require.Equal(t, "arcbox", info.Domain)
	return info.Reason
}

func TestErrorsKeepTheirKindReasonAndHint(t *testing.T) {
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason string
	}{
		{fmt.Errorf("machine %q: %w", "x", domain.ErrNotFound), codes.NotFound, "NOT_FOUND"},
		{domain.ErrNotRunning, codes.Unavailable, "NOT_RUNNING"},
		{domain.ErrProtocol, codes.FailedPrecondition, "AGENT_PROTOCOL"},
		{domain.ErrInvalidState, codes.FailedPrecondition, "INVALID_STATE"},
		{domain.ErrChecksum, codes.DataLoss, "CHECKSUM"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT"},
		{errors.New("odd"), codes.Internal, "INTERNAL"},
		{fmt.Errorf("the guest: %w: %w", domain.ErrAgentLost, status.Error(codes.NotFound, "x")), codes.Unavailable, "AGENT_LOST"},
		{fmt.Errorf("the guest: %w", status.Error(codes.NotFound, "x")), codes.Internal, "INTERNAL"},
	} {
		err := toStatus(domain.WithHint(c.err, "do this"))
		require.Equal(t, c.code, status.Code(err), c.err)
		require.Equal(t, c.reason, reason(t, err))
		require.Equal(t, "do this", detail[*errdetails.ErrorInfo](t, err).Metadata["hint"], "the command line reads it there")
		require.Equal(t, "do this", detail[*errdetails.LocalizedMessage](t, err).Message)
		require.Equal(t, c.err.Error(), status.Convert(err).Message())
	}
	require.NoError(t, toStatus(nil))
	transport := status.Error(codes.ResourceExhausted, "too large")
	require.Equal(t, transport, toStatus(transport), "the transport's own words stay")
}

func TestOnlyWhatPassesIsToBeTriedAgain(t *testing.T) {
	for _, k := range kinds {
		retry := k.code == codes.Unavailable && !errors.Is(k.err, domain.ErrShuttingDown)
		require.Equal(t, retry, k.retry, k.reason)
		err := toStatus(k.err)
		require.Equal(t, k.reason, reason(t, err))
		if retry {
			require.Equal(t, retryDelay, detail[*errdetails.RetryInfo](t, err).RetryDelay.AsDuration())
		} else {
			require.Len(t, status.Convert(err).Details(), 1)
		}
	}
}

// A kind that stands behind the one that it belongs to would never be found.
func TestEveryKindDecidesForItself(t *testing.T) {
	for _, k := range kinds {
		require.Equal(t, k, kindOf(fmt.Errorf("x: %w", k.err)))
	}
}

func TestTheReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	for _, k := range append([]kind{internal, later, unknown}, kinds...) {
		require.Regexp(t, fmt.Sprintf("(?m)^\\| `%s` \\| %s \\|", k.reason, wire(k.code)), string(text))
	}
}

// wire is the code's name in the protocol.
func wire(c codes.Code) string {
	names := map[codes.Code]string{codes.InvalidArgument: "INVALID_ARGUMENT", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
		codes.Aborted: "ABORTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
		codes.PermissionDenied: "PERMISSION_DENIED", codes.Unavailable: "UNAVAILABLE", codes.DataLoss: "DATA_LOSS",
		codes.Canceled: "CANCELLED", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL"}
	return names[c]
}
