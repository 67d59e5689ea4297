package domain

import "errors"

// The kinds of failure. Every error that crosses a layer wraps one of them
// with %w, so that the edges (gRPC codes, HTTP statuses, exit codes) map
// kinds, never texts.
var (
	ErrInvalid       = errors.New("invalid argument")
	ErrNotFound      = errors.New("not found")
	ErrAlreadyExists = errors.New("already exists")
	ErrConflict      = errors.New("conflict")
	ErrInvalidState  = errors.New("not possible in this state")
	ErrTimeout       = errors.New("timed out")
	ErrPermission    = errors.New("not permitted")
	ErrUnavailable   = errors.New("unavailable")
	ErrUnsupported   = errors.New("not supported here")
	ErrCorrupt       = errors.New("corrupt")
	ErrCanceled      = errors.New("canceled")
)

// The failures that a caller may want to tell apart within their kind.
var (
	// ErrNotRunning is returned by operations that need a running virtual machine.
	ErrNotRunning = kind(ErrUnavailable, "the virtual machine is not running")
	// ErrForceStopped fails whoever waited for a boot that a force-stop ended.
	ErrForceStopped = kind(ErrUnavailable, "the virtual machine was stopped by force")
	// ErrShuttingDown fails requests that arrive while the daemon is going down.
	ErrShuttingDown = kind(ErrUnavailable, "the daemon is shutting down")
	// ErrStarting fails requests that arrive before the daemon can serve them.
	ErrStarting = kind(ErrUnavailable, "the daemon is still starting")
	// ErrAlreadyRunning is returned when a second daemon wants the same data directory.
	ErrAlreadyRunning = kind(ErrAlreadyExists, "a daemon is already running")
	// ErrAgentLost ends a session with a guest agent that stopped answering.
	ErrAgentLost = kind(ErrUnavailable, "the guest agent stopped answering")
	// ErrProtocol is a host and guest agent that cannot talk to each other.
	ErrProtocol = kind(ErrInvalidState, "host and guest agent do not fit together")
	// ErrChecksum is a file whose content is not what its pin says.
	ErrChecksum = kind(ErrCorrupt, "checksum mismatch")
)

type kindError struct {
	kind error
	text string
}

func kind(k error, text string) error     { return &kindError{k, text} }
func (e *kindError) Error() string        { return e.text }
func (e *kindError) Is(target error) bool { return target == e.kind }

// WithHint adds what the user can do about err. The hint is not part of
// Error(); Hint returns it. WithHint(nil, ...) is nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hintError{err, hint}
}

// Hint returns the outermost hint in err's tree, or "".
func Hint(err error) string {
	var h *hintError
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }
