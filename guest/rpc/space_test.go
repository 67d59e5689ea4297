package rpc

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

func TestTrimTellsHowMuchAndWhyNot(t *testing.T) {
	answer := errors.New("operation not supported")
	s := New(Config{Log: slog.New(slog.DiscardHandler), Trim: func(context.Context) (uint64, error) { return 7, answer }})
	_, err := s.Trim(t.Context(), &agentv1.TrimRequest{})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.ErrorContains(t, err, "not supported")
	answer = nil
	got, err := s.Trim(t.Context(), &agentv1.TrimRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 7, got.TrimmedBytes)
}

// watched collects what Watch sends.
type watched struct {
	grpc.ServerStreamingServer[agentv1.WatchResponse]
	ctx  context.Context
	sent []*agentv1.WatchResponse // read it while the bubble is settled
}

func (w *watched) Context() context.Context { return w.ctx }
func (w *watched) Send(m *agentv1.WatchResponse) error {
	w.sent = append(w.sent, m)
	return nil
}

func TestWatchTellsOfTheDiskAndAtOnceOfAStepOfTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := NewHub()
		s := New(Config{Hub: hub, Heartbeat: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		w := &watched{ctx: ctx}
		done := make(chan error, 1)
		go func() { done <- s.Watch(nil, w) }()
		synctest.Wait()
		require.Len(t, w.sent, 1)
		require.Nil(t, w.sent[0].GetStatus().Disk, "it is not mounted yet")
		hub.SetDisk(domain.DiskUsage{Device: 9, Total: 8, Free: 7, Inodes: 6, FreeInodes: 5})
		synctest.Wait()
		require.Len(t, w.sent, 2)
		require.EqualValues(t, 7, w.sent[1].GetStatus().Disk.FreeBytes)
		for n := range 3 {
			hub.ClockStepped()
			synctest.Wait()
			require.Len(t, w.sent, 3+n)
			require.Equal(t, time.Now().UnixNano(), w.sent[2+n].GetHeartbeat().GuestTimeUnixNano)
		}
		cancel()
		require.NoError(t, <-done)
	})
}
