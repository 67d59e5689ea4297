package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"arcbox/domain"
)

// Exit codes.
const (
	ExitOK         = 0
	ExitError      = 1
	ExitUsage      = 2
	ExitNotRunning = 3
	ExitInterrupt  = 130
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

// errNotRunning is the answer of commands that ask whether the daemon runs.
var errNotRunning = errors.New("the daemon is not running")

// errInterrupted is what the user did with Ctrl-C.
var errInterrupted = errors.New("interrupted; what the daemon has begun goes on")

// exitCode maps an error to the process's exit code.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, errNotRunning):
		return ExitNotRunning
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled), errors.Is(err, domain.ErrCanceled):
		return ExitInterrupt
	default:
		return ExitError
	}
}

// report writes the one line that a user sees of an error.
func report(w io.Writer, err error) {
	text, hint := err.Error(), domain.Hint(err)
	if st, ok := status.FromError(err); ok && st.Code() != codes.OK {
		text = st.Message()
		if st.Code() == codes.Unavailable && len(st.Details()) == 0 { // the transport's words, not the daemon's
			text, hint = "the daemon does not answer, or ended meanwhile", "arcbox daemon status and arcbox logs say more"
		}
		for _, d := range st.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok && hint == "" {
				hint = info.Metadata["hint"]
			}
		}
	}
	if hint != "" {
		text += " (" + hint + ")"
	}
	fmt.Fprintf(w, "arcbox: %s\n", text)
}
