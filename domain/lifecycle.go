package domain

// LifecycleState is the state of a virtual machine's lifecycle.
type LifecycleState string

// Lifecycle states.
const (
	StateNotExist LifecycleState = "not_exist"
	StateCreating LifecycleState = "creating"
	StateCreated  LifecycleState = "created"
	StateStarting LifecycleState = "starting"
	StateRunning  LifecycleState = "running"
	StateIdle     LifecycleState = "idle"
	StateStopping LifecycleState = "stopping"
	StateStopped  LifecycleState = "stopped"
	StateFailed   LifecycleState = "failed"
)

// Ready says whether the machine can serve requests.
func (s LifecycleState) Ready() bool { return s == StateRunning || s == StateIdle }

// NeedsStart says whether a request must boot the machine first.
func (s LifecycleState) NeedsStart() bool {
	return s == StateNotExist || s == StateCreated || s == StateStopped || s == StateFailed
}
