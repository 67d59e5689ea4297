package lifecycle

import "arcbox/domain"

// Snapshot is the published state of a machine at one moment.
type Snapshot struct {
	Status domain.VMStatus
	// Instance is the run, nil while the machine cannot serve requests.
	Instance *Instance
	// Changed is closed when a newer snapshot is there.
	Changed <-chan struct{}

	changed chan struct{}
}

// Snapshot returns the newest snapshot, which callers must not change. It is
// one atomic load, whatever the actor is doing.
func (a *Actor) Snapshot() *Snapshot { return a.published.Load() }

// Status returns the newest status; see Snapshot.
func (a *Actor) Status() domain.VMStatus { return a.Snapshot().Status }

// publish makes the actor's state the newest snapshot.
func (a *Actor) publish() {
	s := &Snapshot{changed: make(chan struct{})}
	s.Changed = s.changed
	s.Status = domain.VMStatus{
		Machine:    a.options.Machine,
		State:      a.life.State,
		Generation: a.generation,
		Reason:     a.life.Reason,
		Hypervisor: a.hypervisor,
		CPUs:       a.options.CPUs,
		Memory:     a.options.Memory,
	}
	if a.life.State.Ready() {
		s.Instance = a.run.inst
		s.Status.Hypervisor = a.run.info
		s.Status.Guest = a.guest
		s.Status.Paused = a.paused
		s.Status.Hello = a.run.hello
		s.Status.StartedAt = a.run.started
	}
	if old := a.published.Swap(s); old != nil {
		close(old.changed)
	}
}
