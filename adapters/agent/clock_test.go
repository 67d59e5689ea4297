package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	agentv1 "arcbox/api/arcbox/agent/v1"
)

func TestJumped(t *testing.T) {
	for name, c := range map[string]struct {
		wall, running time.Duration
		want          bool
	}{
		"steady":         {time.Second, time.Second, false},
		"slewed":         {1001 * time.Millisecond, time.Second, false},
		"slow scheduler": {5 * time.Second, 5 * time.Second, false},
		"slept":          {time.Hour, time.Second, true},
		"set back":       {-time.Minute, time.Second, true},
	} {
		require.Equal(t, c.want, jumped(c.wall, c.running), name)
	}
}

// shifted is a clock whose time of day a test can move.
type shifted struct {
	Clock
	mu sync.Mutex
	by time.Duration
}

func (s *shifted) Wall() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Clock.Wall().Add(s.by)
}

type settings struct {
	agentv1.AgentServiceClient
	mu  sync.Mutex
	got []time.Time
}

func (s *settings) SetClock(_ context.Context, r *agentv1.SetClockRequest, _ ...grpc.CallOption) (*agentv1.SetClockResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, time.Unix(0, r.HostTimeUnixNano))
	return &agentv1.SetClockResponse{}, nil
}

func TestTheClockIsSetOnATickAndAtOnceAfterAJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, guest := &shifted{Clock: systemClock()}, &settings{}
		s := &session{agents: New(Config{Clock: clock}), client: guest, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.keepClock(ctx) })
		time.Sleep(95 * time.Second)
		synctest.Wait()
		require.Len(t, guest.got, 3)

		clock.mu.Lock()
		clock.by = 10 * time.Minute
		clock.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		require.Len(t, guest.got, 4)
		require.WithinDuration(t, time.Now().Add(10*time.Minute), guest.got[3], 2*time.Second)
		cancel()
		wg.Wait()
	})
}
