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

// LifecycleStates lists every state.
func LifecycleStates() []LifecycleState {
	return []LifecycleState{
		StateNotExist, StateCreating, StateCreated, StateStarting, StateRunning,
		StateIdle, StateStopping, StateStopped, StateFailed,
	}
}

// Ready says whether the machine can serve requests.
func (s LifecycleState) Ready() bool { return s == StateRunning || s == StateIdle }

// NeedsStart says whether a request must boot the machine first.
func (s LifecycleState) NeedsStart() bool {
	return s == StateNotExist || s == StateCreated || s == StateStopped || s == StateFailed
}

// Booting says whether a boot is under way.
func (s LifecycleState) Booting() bool { return s == StateCreating || s == StateStarting }

// Lifecycle is where one virtual machine stands. The zero value is not valid;
// begin with NewLifecycle.
//
// Invariant: a task (boot, stop, kill or reap) is under way exactly in the
// states creating, starting and stopping, so whoever waits there is answered
// by the task's completion.
type Lifecycle struct {
	State LifecycleState
	// Reason says why the state is failed; empty in every other state.
	Reason string
	// StopParked is a stop that arrived during a boot and follows it.
	StopParked bool
	// StartParked is a start that arrived during a stop and follows it.
	StartParked bool
	// Left says that a run could not be taken down: it has ended, but something
	// of it is still there. Only failed has it, and a stop that tries again.
	Left bool
}

// NewLifecycle is the lifecycle of a machine that does not run; recorded says
// whether it has a persistent record.
func NewLifecycle(recorded bool) Lifecycle {
	if recorded {
		return Lifecycle{State: StateStopped}
	}
	return Lifecycle{State: StateNotExist}
}

// Transition is the lifecycle's only rule: the next state and what has to be
// done, in order. An event that means nothing in the state (such as a second
// start during a boot, or the late news of a run that is over) changes nothing;
// handled is false then.
func Transition(l Lifecycle, e LifecycleEvent) (next Lifecycle, effects []LifecycleEffect, handled bool) {
	switch {
	case l.State.NeedsStart():
		return resting(l, e)
	case l.State.Booting():
		return booting(l, e)
	case l.State.Ready():
		return active(l, e)
	case l.State == StateStopping:
		return stopping(l, e)
	}
	return l, nil, false
}

func resting(l Lifecycle, e LifecycleEvent) (Lifecycle, []LifecycleEffect, bool) {
	switch e := e.(type) {
	case Start:
		to := StateStarting
		if e.Create {
			to = StateCreating
		}
		return Lifecycle{State: to}, effects(SpawnBoot(e)), true
	case Created:
		if l.State == StateNotExist {
			return Lifecycle{State: StateCreated}, effects(PublishEvent{Kind: EventMachineCreated}), true
		}
	case Stop:
		if l.Left {
			return Lifecycle{State: StateStopping, Left: true}, effects(SpawnKill{}), true
		}
		return l, effects(AnswerStops{}), true
	case ForceStop:
		if l.Left {
			return Lifecycle{State: StateStopping, Left: true}, effects(SpawnKill{}), true
		}
		if l.State == StateFailed {
			l = Lifecycle{State: StateStopped}
		}
		return l, effects(AnswerStops{}), true
	}
	return l, nil, false
}

func booting(l Lifecycle, e LifecycleEvent) (Lifecycle, []LifecycleEffect, bool) {
	switch e := e.(type) {
	case Created:
		l.State = StateStarting
		return l, effects(PublishEvent{Kind: EventMachineCreated}), true
	case AgentReady:
		up := effects(PublishEvent{Kind: EventMachineStarted}, ReadyWaiters{})
		if l.StopParked {
			return Lifecycle{State: StateStopping}, append(up, SpawnStop{}), true
		}
		return Lifecycle{State: StateRunning}, up, true
	case BootFailed:
		// A parked stop has what it wanted: nothing runs.
		next := failed(e.Err)
		next.Left = e.Left
		return next, effects(BumpGeneration{}, PublishEvent{Kind: EventMachineFailed, Detail: text(e.Err)},
			FailWaiters{Err: e.Err}, AnswerStops{}), true
	case Stop:
		l.StopParked = true
		return l, nil, true
	case ForceStop:
		return Lifecycle{State: StateStopping},
			effects(AbortInflight{}, FailWaiters{Err: ErrForceStopped}, SpawnKill{}), true
	}
	return l, nil, false
}

func active(l Lifecycle, e LifecycleEvent) (Lifecycle, []LifecycleEffect, bool) {
	switch e.(type) {
	case Start, Activity:
		if l.State == StateIdle {
			return Lifecycle{State: StateRunning}, effects(SetBalloon{Target: BalloonFull}), true
		}
		return l, nil, true
	case IdleTimeout:
		if l.State == StateRunning {
			return Lifecycle{State: StateIdle},
				effects(SetBalloon{Target: BalloonIdle}, PublishEvent{Kind: EventMachineIdle}), true
		}
	case Stop:
		return Lifecycle{State: StateStopping}, effects(SpawnStop{}), true
	case ForceStop:
		return Lifecycle{State: StateStopping}, effects(SpawnKill{}), true
	case Crashed:
		return Lifecycle{State: StateStopping}, effects(SpawnReap{}), true
	}
	return l, nil, false
}

func stopping(l Lifecycle, e LifecycleEvent) (Lifecycle, []LifecycleEffect, bool) {
	switch e := e.(type) {
	case Start:
		l.StartParked = true
		return l, nil, true
	case Stop:
		return l, nil, true // joins the stop that is under way
	case Stopped:
		next, news := Lifecycle{State: StateStopped}, PublishEvent{Kind: EventMachineStopped}
		if e.Cause != nil {
			next, news = failed(e.Cause), PublishEvent{Kind: EventMachineFailed, Detail: text(e.Cause)}
		}
		done := append(endOfRun(l), news, AnswerStops{})
		if l.StartParked {
			return Lifecycle{State: StateStarting}, append(done, SpawnBoot{}), true
		}
		return next, done, true
	case StopFailed:
		next := failed(e.Err)
		next.Left = true
		return next, append(endOfRun(l), PublishEvent{Kind: EventMachineFailed, Detail: text(e.Err)},
			FailWaiters(e), AnswerStops(e)), true
	case ForceStop:
		return Lifecycle{State: StateStopping, Left: l.Left},
			effects(AbortInflight{}, FailWaiters{Err: ErrForceStopped}, SpawnKill{}), true
	}
	return l, nil, false
}

// endOfRun ends the run that was stopped, unless it has ended before and only
// what was left of it was taken down.
func endOfRun(l Lifecycle) []LifecycleEffect {
	if l.Left {
		return nil
	}
	return effects(BumpGeneration{})
}

func failed(err error) Lifecycle { return Lifecycle{State: StateFailed, Reason: text(err)} }

func text(err error) string {
	if err == nil {
		return "unknown reason"
	}
	return err.Error()
}

func effects(e ...LifecycleEffect) []LifecycleEffect { return e }
