package kvm

import (
	"encoding/json"
	"fmt"

	"arcbox/domain"
)

// The reasons of QEMU's SHUTDOWN event that mean something here (ShutdownCause
// in QEMU's qapi/run-state.json).
const (
	causeGuestShutdown = "guest-shutdown"
	causeGuestReset    = "guest-reset"
	causeGuestPanic    = "guest-panic"
	causeHostSignal    = "host-signal"
)

// ending is everything that is known of a machine that went down.
type ending struct {
	killed   bool   // by Kill
	failure  error  // found by watching the machine, nil for none
	shutdown string // reason of the SHUTDOWN event, empty when none came
	success  bool   // QEMU's exit status was 0
	status   string // QEMU's exit status in words
	stderr   string // the end of QEMU's messages
}

// reason says why the machine went down: nil for a power-off by the guest or
// a Kill.
func (e ending) reason() error {
	switch {
	case e.killed:
		return nil
	case e.failure != nil:
		return e.failure
	case !e.success:
		return fmt.Errorf("QEMU ended by itself (%s)%s: %w", e.status, e.said(), domain.ErrUnavailable)
	}
	switch e.shutdown {
	case causeGuestShutdown:
		return nil
	case causeGuestReset:
		return fmt.Errorf("the guest reset itself (a reboot, or a crash of its kernel): %w", domain.ErrUnavailable)
	case causeGuestPanic:
		return fmt.Errorf("the guest's kernel panicked: %w", domain.ErrUnavailable)
	case causeHostSignal:
		return fmt.Errorf("QEMU was ended by a signal that ArcBox did not send: %w", domain.ErrUnavailable)
	case "":
		return fmt.Errorf("QEMU ended without saying why%s: %w", e.said(), domain.ErrUnavailable)
	default:
		return fmt.Errorf("QEMU ended (%.40q)%s: %w", e.shutdown, e.said(), domain.ErrUnavailable)
	}
}

func (e ending) said() string { return quoteStderr(e.stderr) }

// quoteStderr puts a process's last messages into an error's text.
func quoteStderr(text string) string {
	if text == "" {
		return ""
	}
	return "; its last messages: " + text
}

// shutdownCause reads the data of a SHUTDOWN event.
func shutdownCause(data json.RawMessage) string {
	var d struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &d) != nil {
		return ""
	}
	return d.Reason
}
