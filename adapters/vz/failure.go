package vz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"arcbox/domain"
)

// frameworkError is an NSError.
type frameworkError struct {
	Domain string
	Code   int
	Text   string // description and reason, for people
}

func (e *frameworkError) Error() string { return fmt.Sprintf("%s (%s %d)", e.Text, e.Domain, e.Code) }

// Domains and codes of errors: Foundation's, Darwin's sys/errno.h, and
// VZErrorCode.
const (
	posixDomain = "NSPOSIXErrorDomain"
	vzDomain    = "VZErrorDomain"

	darwinEACCES       = 13
	darwinEMFILE       = 24
	darwinECONNRESET   = 54
	darwinECONNREFUSED = 61

	vzInvalidConfiguration = 2
	vzInvalidState         = 3
	vzInvalidTransition    = 4
	vzInvalidDiskImage     = 5
	vzLimitExceeded        = 6
	vzOutOfDiskSpace       = 8
	vzSave                 = 11
	vzRestore              = 12
)

// entitlement is what a program must be signed with to run machines.
const entitlement = "com.apple.security.virtualization"

// explain puts a failure of the framework in the domain's words. An error that has
// them keeps them; one of the file system is named as in fileKind.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var e *frameworkError
	if !errors.As(err, &e) {
		for _, known := range []error{domain.ErrInvalid, domain.ErrInvalidState, domain.ErrUnsupported, domain.ErrUnavailable,
			domain.ErrNotFound, domain.ErrPermission, domain.ErrNotRunning, domain.ErrTimeout, domain.ErrCanceled} {
			if errors.Is(err, known) {
				return fmt.Errorf("%s: %w", doing, err)
			}
		}
		return fmt.Errorf("%s: %w: %w", doing, fileKind(err), err)
	}
	kind, hint := domain.ErrUnavailable, ""
	switch {
	case strings.Contains(e.Text, entitlement):
		kind, hint = domain.ErrPermission, "sign the program with the entitlement "+entitlement
	case e.Domain == posixDomain && e.Code == darwinEACCES:
		kind = domain.ErrPermission
	case e.Domain == posixDomain && e.Code == darwinEMFILE:
		hint = "raise the limit of open files"
	case e.Domain != vzDomain:
	case e.Code == vzInvalidConfiguration:
		kind = domain.ErrInvalid
	case e.Code == vzInvalidState || e.Code == vzInvalidTransition:
		kind = domain.ErrInvalidState
	case e.Code == vzSave:
		hint = "the machine goes on when it is resumed; without a saved state it boots the next time"
	case e.Code == vzRestore:
		kind, hint = domain.ErrInvalidState, "remove the saved state and start the machine anew; its disks are as after a loss of power"
	case e.Code == vzInvalidDiskImage:
		kind, hint = domain.ErrInvalid, "a disk is no raw image, or another program has it open"
	case e.Code == vzLimitExceeded:
		hint = "stop another virtual machine of this Mac"
	case e.Code == vzOutOfDiskSpace:
		hint = "free space on the disk that holds the images"
	}
	wrapped := fmt.Errorf("%s: %w: %w", doing, kind, err)
	if hint == "" {
		return wrapped
	}
	return domain.WithHint(wrapped, hint)
}

// dialError maps what the framework says when a connection does not come about. A
// guest where nobody listens resets it, and the framework passes just that on.
func dialError(port uint32, err error) error {
	var e *frameworkError
	if errors.As(err, &e) && e.Domain == posixDomain && (e.Code == darwinECONNRESET || e.Code == darwinECONNREFUSED) {
		return fmt.Errorf("dialling vsock port %d: %w", port, syscall.ECONNREFUSED)
	}
	return explain(fmt.Sprintf("dialling vsock port %d", port), err)
}

// contextError says why ctx ended, in the domain's words.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return domain.ErrTimeout
	}
	return fmt.Errorf("%w: %w", domain.ErrCanceled, context.Cause(ctx))
}

// describe puts an NSError's description and dictionary, which holds the reason,
// into one bounded line.
func describe(description, info string) string {
	const limit = 1 << 10
	s := strings.Join(strings.Fields(description+" "+info), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
