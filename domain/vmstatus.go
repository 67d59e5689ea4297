package domain

import "time"

// VMStatus is the published state of one virtual machine.
type VMStatus struct {
	Machine MachineName
	State   LifecycleState
	// Generation counts the runs that ended; caches are keyed by it.
	Generation uint64
	// Reason says why the machine failed, with the end of its console log.
	Reason     string
	Hypervisor HypervisorInfo
	Guest      GuestStatus
	Hello      AgentHello
	StartedAt  time.Time // of this run; zero when the machine is down
	CPUs       int
	Memory     MiB
	// Paused says why the machine stands still though it is wanted to run; ""
	// while it runs.
	Paused string
	// Image is the host's side of the data disk.
	Image DiskImage
}
