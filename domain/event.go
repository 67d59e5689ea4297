package domain

import "time"

// EventKind names what happened.
type EventKind string

// Event kinds.
const (
	EventMachineCreated EventKind = "machine.created"
	EventMachineStarted EventKind = "machine.started"
	EventMachineIdle    EventKind = "machine.idle"
	EventMachineStopped EventKind = "machine.stopped"
	EventMachineFailed  EventKind = "machine.failed"
	// EventAcceleratorFallback says that a better accelerator exists but cannot be used.
	EventAcceleratorFallback EventKind = "accelerator.fallback"
	EventEngineReady         EventKind = "engine.ready"
	EventEngineDown          EventKind = "engine.down"
	// EventForwardConflict says that somebody else has a published port.
	EventForwardConflict EventKind = "forward.conflict"
	// EventForwardRecovered says that a port that was in conflict is taken.
	EventForwardRecovered EventKind = "forward.recovered"
)

// Event is something that happened and that others may want to know.
type Event struct {
	Kind    EventKind
	Machine MachineName
	Time    time.Time
	Detail  string
}
