package domain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	. "arcbox/domain"
)

var (
	errBoot  = errors.New("no kernel")
	errCrash = errors.New("process ended")
	errKill  = errors.New("cannot kill")
)

func lifecycleEvents() []LifecycleEvent {
	return []LifecycleEvent{
		Start{}, Start{Create: true}, Created{}, AgentReady{}, BootFailed{Err: errBoot}, BootFailed{Err: errBoot, Left: true}, IdleTimeout{}, Activity{},
		Stop{}, ForceStop{}, Crashed{}, Stopped{}, Stopped{Cause: errCrash}, StopFailed{Err: errKill},
	}
}

type step struct {
	to Lifecycle
	do []LifecycleEffect
}

func at(s LifecycleState) Lifecycle { return Lifecycle{State: s} }

func do(e ...LifecycleEffect) []LifecycleEffect { return e }

// transitions is the whole table; a pair that is not in it is ignored.
func transitions() map[string]step {
	t := map[string]step{}
	on := func(s Lifecycle, e LifecycleEvent, to Lifecycle, do ...LifecycleEffect) {
		t[fmt.Sprintf("%+v %T%+v", s, e, e)] = step{to, do}
	}
	failedBoot, failedRun := Lifecycle{State: StateFailed, Reason: "no kernel"}, Lifecycle{State: StateFailed, Reason: "process ended"}
	stuck := Lifecycle{State: StateFailed, Reason: "cannot kill", Left: true}
	for _, s := range []LifecycleState{StateNotExist, StateCreated, StateStopped, StateFailed} {
		on(at(s), Start{}, at(StateStarting), SpawnBoot{})
		on(at(s), Start{Create: true}, at(StateCreating), SpawnBoot{Create: true})
		on(at(s), Stop{}, at(s), AnswerStops{})
		on(at(s), ForceStop{}, at(s), AnswerStops{})
	}
	on(at(StateFailed), ForceStop{}, at(StateStopped), AnswerStops{})
	left := Lifecycle{State: StateFailed, Left: true}
	on(left, Start{}, at(StateStarting), SpawnBoot{})
	on(left, Start{Create: true}, at(StateCreating), SpawnBoot{Create: true})
	on(left, Stop{}, Lifecycle{State: StateStopping, Left: true}, SpawnKill{})
	on(left, ForceStop{}, Lifecycle{State: StateStopping, Left: true}, SpawnKill{})
	on(at(StateNotExist), Created{}, at(StateCreated), PublishEvent{Kind: EventMachineCreated})
	for _, s := range []LifecycleState{StateCreating, StateStarting} {
		for _, parked := range []bool{false, true} {
			from := Lifecycle{State: s, StopParked: parked}
			on(from, Created{}, Lifecycle{State: StateStarting, StopParked: parked}, PublishEvent{Kind: EventMachineCreated})
			on(from, BootFailed{Err: errBoot}, failedBoot, BumpGeneration{},
				PublishEvent{Kind: EventMachineFailed, Detail: "no kernel"}, FailWaiters{Err: errBoot}, AnswerStops{})
			failedLeft := failedBoot
			failedLeft.Left = true
			on(from, BootFailed{Err: errBoot, Left: true}, failedLeft, BumpGeneration{},
				PublishEvent{Kind: EventMachineFailed, Detail: "no kernel"}, FailWaiters{Err: errBoot}, AnswerStops{})
			on(from, Stop{}, Lifecycle{State: s, StopParked: true})
			on(from, ForceStop{}, at(StateStopping), AbortInflight{}, FailWaiters{Err: ErrForceStopped}, SpawnKill{})
		}
		on(at(s), AgentReady{}, at(StateRunning), PublishEvent{Kind: EventMachineStarted}, ReadyWaiters{})
		on(Lifecycle{State: s, StopParked: true}, AgentReady{}, at(StateStopping),
			PublishEvent{Kind: EventMachineStarted}, ReadyWaiters{}, SpawnStop{})
	}
	for _, s := range []LifecycleState{StateRunning, StateIdle} {
		on(at(s), Stop{}, at(StateStopping), SpawnStop{})
		on(at(s), ForceStop{}, at(StateStopping), SpawnKill{})
		on(at(s), Crashed{}, at(StateStopping), SpawnReap{})
	}
	for _, e := range []LifecycleEvent{Start{}, Start{Create: true}, Activity{}} {
		on(at(StateRunning), e, at(StateRunning))
		on(at(StateIdle), e, at(StateRunning), SetBalloon{Target: BalloonFull})
	}
	on(at(StateRunning), IdleTimeout{}, at(StateIdle), SetBalloon{Target: BalloonIdle}, PublishEvent{Kind: EventMachineIdle})
	for _, from := range []Lifecycle{
		{State: StateStopping}, {State: StateStopping, StartParked: true},
		{State: StateStopping, Left: true}, {State: StateStopping, Left: true, StartParked: true},
	} {
		then, boot, end := func(l Lifecycle) Lifecycle { return l }, do(), do(BumpGeneration{})
		if from.StartParked {
			then, boot = func(Lifecycle) Lifecycle { return at(StateStarting) }, do(SpawnBoot{})
		}
		if from.Left { // its run has ended already
			end = do()
		}
		all := func(e ...[]LifecycleEffect) []LifecycleEffect { return slices.Concat(e...) }
		parked := from
		parked.StartParked = true
		on(from, Start{}, parked)
		on(from, Start{Create: true}, parked)
		on(from, Stop{}, from)
		on(from, Stopped{}, then(at(StateStopped)),
			all(end, do(PublishEvent{Kind: EventMachineStopped}, AnswerStops{}), boot)...)
		on(from, Stopped{Cause: errCrash}, then(failedRun),
			all(end, do(PublishEvent{Kind: EventMachineFailed, Detail: "process ended"}, AnswerStops{}), boot)...)
		on(from, StopFailed{Err: errKill}, stuck,
			all(end, do(PublishEvent{Kind: EventMachineFailed, Detail: "cannot kill"}, FailWaiters{Err: errKill}, AnswerStops{Err: errKill}))...)
		on(from, ForceStop{}, Lifecycle{State: StateStopping, Left: from.Left}, AbortInflight{}, FailWaiters{Err: ErrForceStopped}, SpawnKill{})
	}
	return t
}

func TestTransitionTable(t *testing.T) {
	table, seen := transitions(), 0
	for _, s := range LifecycleStates() {
		for _, parked := range []Lifecycle{{}, {StopParked: true}, {StartParked: true}, {Left: true}, {Left: true, StartParked: true}} {
			if parked.StopParked && !s.Booting() || parked.StartParked && s != StateStopping ||
				parked.Left && s != StateStopping && s != StateFailed {
				continue
			}
			for _, e := range lifecycleEvents() {
				from := parked
				from.State = s
				next, effects, handled := Transition(from, e)
				want, listed := table[fmt.Sprintf("%+v %T%+v", from, e, e)]
				if !listed {
					want = step{to: from}
				} else {
					seen++
				}
				name := fmt.Sprintf("%+v on %T", from, e)
				require.Equal(t, listed, handled, name)
				require.Equal(t, want.to, next, name)
				require.Empty(t, cmp.Diff(want.do, effects, cmpopts.EquateEmpty(), cmpopts.EquateErrors()), name)
			}
		}
	}
	require.Equal(t, len(table), seen, "the table has rows that no state and event reach")
}

func TestTransitionOfUnknownStateIsIgnored(t *testing.T) {
	next, effects, handled := Transition(Lifecycle{State: "asleep"}, Start{})
	require.False(t, handled)
	require.Empty(t, effects)
	require.Equal(t, Lifecycle{State: "asleep"}, next)
}

// TestLifecycleProperties plays random events against a model of who waits and
// which task is under way.
func TestLifecycleProperties(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		l := NewLifecycle(seed%2 == 0)
		var runs, ended, tasks int
		var waiting, stopping bool
		events := lifecycleEvents()
		for range 200 {
			e := events[random.IntN(len(events))]
			before := l
			switch e.(type) {
			case Start:
				waiting = waiting || !l.State.Ready()
			case Stop, ForceStop:
				stopping = true
			}
			next, effects, handled := Transition(l, e)
			if !handled && (waiting && before.State.NeedsStart()) {
				t.Fatalf("a start was ignored in %+v", before)
			}
			if handled {
				switch e.(type) {
				case AgentReady, BootFailed, Stopped, StopFailed:
					tasks--
				}
			}
			for _, effect := range effects {
				switch effect.(type) {
				case SpawnBoot:
					runs++
					tasks++
				case SpawnStop, SpawnKill, SpawnReap:
					tasks++
				case AbortInflight:
					tasks--
				case BumpGeneration:
					ended++
				case ReadyWaiters, FailWaiters:
					waiting = false
				case AnswerStops:
					stopping = false
				}
			}
			at := fmt.Sprintf("seed %d: %+v on %T%+v gives %+v", seed, before, e, e, next)
			rests, serves := next.State.NeedsStart(), next.State.Ready()
			if rests || serves {
				require.False(t, waiting, "waiters are left: "+at)
				require.False(t, stopping, "stops are left: "+at)
				require.Zero(t, tasks, "a task runs: "+at)
				require.False(t, next.StartParked || next.StopParked, at)
			} else {
				require.Equal(t, 1, tasks, "one task runs: "+at)
			}
			if waiting && next.State == StateStopping {
				require.True(t, next.StartParked, "waiters of a stop are followed by a boot: "+at)
			}
			if rests {
				require.Equal(t, runs, ended, "each run ends once: "+at)
			} else if !next.Left {
				require.Equal(t, runs-1, ended, at)
			}
			if next.Left {
				require.Contains(t, []LifecycleState{StateFailed, StateStopping}, next.State, at)
				require.Equal(t, runs, ended, "what is left is of a run that has ended: "+at)
			}
			if before.Left && !next.Left {
				switch e.(type) {
				case Start, Stopped: // a boot closes it first; a kill has
				default:
					t.Fatal("what was left was forgotten: " + at)
				}
			}
			require.Equal(t, next.State == StateFailed, next.Reason != "", at)
			if before.State == StateFailed && next.State != StateFailed {
				switch e.(type) {
				case Start, Stop, ForceStop:
				default:
					t.Fatal("failed was left by something else: " + at)
				}
			}
			l = next
		}
	}
}
