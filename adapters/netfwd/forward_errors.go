package netfwd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"arcbox/domain"
)

// forwardError is a failure whose text the user of `docker run` reads, within a
// longer one of the engine's: it says all that matters in one line.
//
// docker's client guesses its exit code from the text (126 for "permission
// denied" and "is a directory", 127 for "no such file or directory" and
// "executable file not found": docker/cli, container/run.go), so no error of
// the system may be quoted.
type forwardError struct {
	kind error
	text string
}

func (e *forwardError) Error() string { return e.text }
func (e *forwardError) Unwrap() error { return e.kind }

// explainBind says in the user's words why the host would not listen where
// rule wants it; holder is who has the port, "" when that is not known.
func explainBind(rule domain.ForwardRule, err error, holder string) error {
	what := fmt.Sprintf("%s/%s", rule.Host, rule.Protocol)
	addr := rule.Host.Addr()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		text := what + " is already in use on this computer"
		if holder != "" {
			text += " by " + holder
		}
		return domain.WithHint(&forwardError{domain.ErrConflict, text},
			"publish another host port, or stop the program that holds this one")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return explainPrivilege(rule)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return domain.WithHint(
			&forwardError{domain.ErrUnsupported, fmt.Sprintf("%s: this computer has no address %s", what, addr)},
			"publish on an address of this computer, or on all of them")
	case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EPFNOSUPPORT):
		family := "IPv4"
		if addr.Is6() {
			family = "IPv6"
		}
		return domain.WithHint(
			&forwardError{domain.ErrUnsupported, fmt.Sprintf("%s: this computer has no %s", what, family)},
			"publish on an address of the other family")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return domain.WithHint(
			&forwardError{domain.ErrUnavailable, what + ": too many files and connections are open in the ArcBox daemon (RLIMIT_NOFILE)"},
			"raise the limit of open files (ulimit -n) and start the daemon again")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("listen on %s: %w", what, err)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &forwardError{domain.ErrUnavailable, fmt.Sprintf("%s: this computer does not listen there (error %d)", what, int(errno))}
	}
	return fmt.Errorf("listen on %s: %w: %w", what, err, domain.ErrUnavailable)
}
