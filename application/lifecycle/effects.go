package lifecycle

import (
	"context"
	"time"

	"arcbox/domain"
)

// execute does one effect. Answers to callers come later, from answer: whoever
// is answered must find the new state published.
func (a *Actor) execute(ctx context.Context, effect domain.LifecycleEffect) {
	switch e := effect.(type) {
	case domain.SpawnBoot:
		a.spawn(ctx, a.bootTask(e.Create))
	case domain.SpawnStop:
		a.spawn(ctx, a.stopTask())
	case domain.SpawnKill:
		a.spawn(ctx, a.killTask())
	case domain.SpawnReap:
		a.spawn(ctx, a.reapTask())
	case domain.AbortInflight:
		if a.task != nil {
			a.task.cancel()
		}
	case domain.SetBalloon:
		a.setBalloon(e.Target)
	case domain.BumpGeneration:
		a.generation++
		a.guest, a.paused = domain.GuestStatus{}, ""
	case domain.PublishEvent:
		a.tell(e.Kind, e.Detail)
	case domain.ReadyWaiters, domain.FailWaiters, domain.AnswerStops:
	}
}

func (a *Actor) answer(effects []domain.LifecycleEffect) {
	for _, effect := range effects {
		switch e := effect.(type) {
		case domain.ReadyWaiters:
			for _, w := range a.waiters {
				w <- readyReply{instance: a.run.inst}
			}
			a.waiters = nil
		case domain.FailWaiters:
			a.failWaiters(e.Err)
		case domain.AnswerStops:
			for _, w := range a.stops {
				w <- e.Err
			}
			a.stops = nil
		}
	}
}

func (a *Actor) failWaiters(err error) {
	for _, w := range a.waiters {
		w <- readyReply{err: err}
	}
	a.waiters = nil
}

func (a *Actor) tell(kind domain.EventKind, detail string) {
	a.ports.Events.Publish(domain.Event{Kind: kind, Machine: a.options.Machine, Time: time.Now(), Detail: detail})
}

func (a *Actor) setBalloon(target domain.BalloonTarget) {
	idle := a.options.IdleMemory
	if a.run == nil || a.run.balloon == nil || idle == 0 || idle >= a.options.Memory {
		return
	}
	if target == domain.BalloonFull {
		idle = a.options.Memory
	}
	a.run.setMemory(idle)
}

// tellAccelerator says, once per reason, that a better accelerator is not used.
func (a *Actor) tellAccelerator(info domain.HypervisorInfo) {
	if info.Reason == "" || info.Reason == a.toldReason {
		return
	}
	a.toldReason = info.Reason
	a.log.Warn("a better accelerator cannot be used", "accelerator", string(info.Accelerator), "reason", info.Reason)
	a.tell(domain.EventAcceleratorFallback, info.Reason)
}
