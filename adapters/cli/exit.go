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

// ExitCode is an exit code and what it says.
type ExitCode struct {
	Code    int
	Meaning string
}

// ExitCodes are all that arcbox ends with; they are stable.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{ExitOK, "done"},
		{ExitError, "it did not work; one line on standard error says what, and what to do next"},
		{ExitUsage, "the command line makes no sense: an unknown command or flag, or a value that is not allowed"},
		{ExitNotRunning, "the daemon is not running, and the command needs it or asks for it"},
		{ExitInterrupt, "interrupted with Ctrl-C"},
	}
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// Unwrap shows the hint of the error inside.
func (e usageError) Unwrap() error { return e.error }

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
func report(w io.Writer, err error, color bool) {
	text, hint := err.Error(), domain.Hint(err)
	if st, ok := status.FromError(err); ok && st.Code() != codes.OK {
		text = st.Message()
		switch {
		case st.Code() == codes.Unavailable && len(st.Details()) == 0: // the transport's words, not the daemon's
			text, hint = "the daemon does not answer, or ended meanwhile", "arcbox daemon status and arcbox logs say more"
		case st.Code() == codes.Unimplemented && hint == "":
			hint = "arcbox version shows whether command and daemon are of one version"
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
	fmt.Fprintf(w, "%s %s\n", paint(color, red, "arcbox:"), text)
}

// Colours of ECMA-48 (SGR).
const (
	red    = "31"
	yellow = "33"
)

// paint colours a text in bold; it is only for what is written to a terminal.
func paint(color bool, sgr, text string) string {
	if !color {
		return text
	}
	return "\033[1;" + sgr + "m" + text + "\033[0m"
}
