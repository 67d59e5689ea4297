package qmp

import (
	"errors"
	"fmt"

	"arcbox/domain"
)

// ErrDisconnected fails everything that waits when the connection ends. It
// is a kind of domain.ErrUnavailable.
var ErrDisconnected = fmt.Errorf("QEMU's monitor is disconnected: %w", domain.ErrUnavailable)

// errMessageTooLong and errGarbage end a connection whose peer does not speak QMP.
var (
	errMessageTooLong = errors.New("message is longer than the limit")
	errGarbage        = errors.New("message is no JSON object")
)

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string
	Class   string // "GenericError", "CommandNotFound", ...
	Desc    string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("QEMU refused %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// Is maps the classes that have a kind of their own in the domain.
func (e *CommandError) Is(target error) bool {
	switch e.Class {
	case "CommandNotFound":
		return target == domain.ErrUnsupported
	case "DeviceNotFound":
		return target == domain.ErrNotFound
	case "DeviceNotActive":
		return target == domain.ErrInvalidState
	}
	return false
}
