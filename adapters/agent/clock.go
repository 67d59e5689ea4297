package agent

import (
	"context"
	"time"

	agentv1 "arcbox/api/arcbox/agent/v1"
)

// Clock is the host's clock.
type Clock interface {
	// Wall is the time of day.
	Wall() time.Time
	// Running is how long the computer has been awake, since whenever.
	Running() time.Duration
}

type hostClock struct{ start time.Time }

func systemClock() Clock { return hostClock{time.Now()} }

func (hostClock) Wall() time.Time          { return time.Now() }
func (c hostClock) Running() time.Duration { return time.Since(c.start) }

// The guest's clock is set on every clockTick; when the host's own has jumped,
// of which a kernel that can tells at once and which is looked for on every
// jumpTick: that is how the end of the host's sleep shows, and a user who sets
// the time; and when a heartbeat of the guest shows its clock to be wrong, not more
// often than every skewPause.
const (
	clockTick = 30 * time.Second
	jumpTick  = time.Second
	jumpLimit = 250 * time.Millisecond
	skewLimit = 250 * time.Millisecond
	skewPause = 200 * time.Millisecond
	// setTimeout bounds one setting; a guest that hangs is found by its
	// heartbeats.
	setTimeout = 5 * time.Second
)

// jumped reports whether the wall clock went another way than the time that
// passed.
func jumped(wall, running time.Duration) bool {
	return (wall - running).Abs() > jumpLimit
}

// keepClock keeps the guest's clock at the host's until ctx ends.
func (s *session) keepClock(ctx context.Context) {
	look := time.NewTicker(jumpTick)
	defer look.Stop()
	clock := s.agents.cfg.Clock
	wall, running := clock.Wall().Round(0), clock.Running()
	lastSet := running
	for {
		skewed := false
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-s.stepped:
		case <-s.skewed:
			skewed = true
		}
		nowWall, nowRunning := clock.Wall().Round(0), clock.Running()
		jump := jumped(nowWall.Sub(wall), nowRunning-running)
		wall, running = nowWall, nowRunning
		if !jump && !skewed && nowRunning-lastSet < clockTick {
			continue
		}
		lastSet = nowRunning
		s.setClock(ctx, jump)
		if skewed { // the guest is not trusted: it may say so all the time
			select {
			case <-ctx.Done():
			case <-time.After(skewPause):
			}
		}
	}
}

// wrong reports whether the guest's clock is. A heartbeat that was long on its
// way looks as if it were, which costs a message: the guest looks again.
func (s *session) wrong(beat *agentv1.Heartbeat) bool {
	return s.agents.cfg.Clock.Wall().Sub(time.Unix(0, beat.GuestTimeUnixNano)).Abs() > skewLimit
}

func (s *session) setClock(ctx context.Context, jump bool) {
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	answer, err := s.client.SetClock(ctx, &agentv1.SetClockRequest{HostTimeUnixNano: s.agents.cfg.Clock.Wall().UnixNano()})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Warn("guest clock not set", "error", err)
	case answer.StepNanos != 0:
		s.log.Info("guest clock set", "step", time.Duration(answer.StepNanos), "host_jumped", jump)
	}
}
