package domain

// LifecycleEvent is something that a lifecycle reacts to.
type LifecycleEvent interface{ lifecycleEvent() }

// Lifecycle events: commands, completions of tasks, and news of the run.
type (
	// Start asks for a running machine; Create says that it has no record yet.
	Start struct{ Create bool }
	// Created reports that the machine has a record now.
	Created struct{}
	// AgentReady reports that the boot is done.
	AgentReady struct{}
	// BootFailed reports that the boot is over; Left says that something of it,
	// or of an earlier run, could not be taken down.
	BootFailed struct {
		Err  error
		Left bool
	}
	// IdleTimeout reports that nobody has used the machine for its idle time.
	IdleTimeout struct{}
	// Activity reports that somebody uses the machine.
	Activity struct{}
	// Stop asks for an orderly stop.
	Stop struct{}
	// ForceStop asks for an immediate stop, whatever is under way.
	ForceStop struct{}
	// Crashed reports that the run is lost: its process ended or its agent is
	// silent. What is left of it is not cleared up yet.
	Crashed struct{}
	// Stopped reports that the machine is down and everything of its run is
	// released; Cause says why when it was not wanted.
	Stopped struct{ Cause error }
	// StopFailed reports that the machine could not be taken down.
	StopFailed struct{ Err error }
)

func (Start) lifecycleEvent()       {}
func (Created) lifecycleEvent()     {}
func (AgentReady) lifecycleEvent()  {}
func (BootFailed) lifecycleEvent()  {}
func (IdleTimeout) lifecycleEvent() {}
func (Activity) lifecycleEvent()    {}
func (Stop) lifecycleEvent()        {}
func (ForceStop) lifecycleEvent()   {}
func (Crashed) lifecycleEvent()     {}
func (Stopped) lifecycleEvent()     {}
func (StopFailed) lifecycleEvent()  {}

// LifecycleEffect is something that a transition wants done.
type LifecycleEffect interface{ lifecycleEffect() }

// BalloonTarget says how much memory a machine should have.
type BalloonTarget string

// Balloon targets.
const (
	BalloonIdle BalloonTarget = "idle"
	BalloonFull BalloonTarget = "full"
)

// Lifecycle effects.
type (
	// SpawnBoot starts the task that ends with AgentReady or BootFailed. It is
	// the beginning of a run; BumpGeneration is its end.
	SpawnBoot struct{ Create bool }
	// SpawnStop starts the task that stops the run in order, by force if it
	// must, and ends with Stopped or StopFailed.
	SpawnStop struct{}
	// SpawnKill starts the task that takes the run down at once, after whatever
	// was aborted has let go of it, and ends with Stopped or StopFailed.
	SpawnKill struct{}
	// SpawnReap starts the task that finds out why a run was lost and clears up
	// after it; it ends with Stopped and its cause, or StopFailed.
	SpawnReap struct{}
	// AbortInflight cancels the task under way; its completion is stale.
	AbortInflight struct{}
	// SetBalloon gives memory back to the host, or takes it again.
	SetBalloon struct{ Target BalloonTarget }
	// BumpGeneration ends the run: what is cached under its number is void.
	BumpGeneration struct{}
	// PublishEvent tells others.
	PublishEvent struct {
		Kind   EventKind
		Detail string
	}
	// ReadyWaiters gives the running machine to everybody who waits for it.
	ReadyWaiters struct{}
	// FailWaiters fails everybody who waits for the machine.
	FailWaiters struct{ Err error }
	// AnswerStops answers everybody who waits for a stop; nil is success.
	AnswerStops struct{ Err error }
)

func (SpawnBoot) lifecycleEffect()      {}
func (SpawnStop) lifecycleEffect()      {}
func (SpawnKill) lifecycleEffect()      {}
func (SpawnReap) lifecycleEffect()      {}
func (AbortInflight) lifecycleEffect()  {}
func (SetBalloon) lifecycleEffect()     {}
func (BumpGeneration) lifecycleEffect() {}
func (PublishEvent) lifecycleEffect()   {}
func (ReadyWaiters) lifecycleEffect()   {}
func (FailWaiters) lifecycleEffect()    {}
func (AnswerStops) lifecycleEffect()    {}
