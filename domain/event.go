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
	// EventWatchIncomplete says that not all changes on the host wake watchers in
	// containers.
	EventWatchIncomplete EventKind = "watch.incomplete"
	// EventDiskLow says that the data disk is nearly full, EventDiskRecovered that
	// it is no longer.
	EventDiskLow       EventKind = "disk.low"
	EventDiskRecovered EventKind = "disk.recovered"
	// EventMachinePaused says that the machine stands still, since the host cannot
	// store what it writes; EventMachineResumed that it goes on.
	EventMachinePaused  EventKind = "machine.paused"
	EventMachineResumed EventKind = "machine.resumed"
)

// Event is something that happened and that others may want to know.
type Event struct {
	Kind    EventKind
	Machine MachineName
	Time    time.Time
	Detail  string
}
