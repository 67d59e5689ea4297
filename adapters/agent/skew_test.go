package agent

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

// clockwork is a guest whose clock can be set.
type clockwork struct {
	*guest
	set chan time.Time
}

func (c clockwork) SetClock(_ context.Context, r *agentv1.SetClockRequest) (*agentv1.SetClockResponse, error) {
	c.set <- time.Unix(0, r.HostTimeUnixNano)
	return &agentv1.SetClockResponse{}, nil
}

func beat(at time.Time) *agentv1.WatchResponse {
	return &agentv1.WatchResponse{Event: &agentv1.WatchResponse_Heartbeat{Heartbeat: &agentv1.Heartbeat{GuestTimeUnixNano: at.UnixNano()}}}
}

func TestAHeartbeatWithAWrongTimeSetsTheClockAtOnce(t *testing.T) {
	g := clockwork{newGuest(), make(chan time.Time, 100)}
	a, _ := client()
	s := connectFor(t, a, serveAny(t, g), time.Minute)
	g.events <- beat(time.Now())
	select {
	case <-g.set:
		t.Fatal("its clock was right")
	case <-time.After(100 * time.Millisecond):
	}
	for _, by := range []time.Duration{-time.Hour, time.Hour, 300 * time.Millisecond} {
		g.events <- beat(time.Now().Add(by))
		select {
		case at := <-g.set:
			require.WithinDuration(t, time.Now(), at, time.Second)
		case <-time.After(5 * time.Second):
			t.Fatalf("%s is not set right", by)
		}
	}
	began := time.Now()
	for range 20 { // one that says so all the time
		g.events <- beat(time.Time{})
		time.Sleep(20 * time.Millisecond)
	}
	require.LessOrEqual(t, len(g.set), int(time.Since(began)/skewPause)+2)
	require.NoError(t, s.Close())
}

// halted is a machine that can stand still.
type halted struct {
	*dialer
	now atomic.Bool
}

func (h *halted) Paused() (string, <-chan struct{}) {
	if h.now.Load() {
		return "the host's disk is full", nil
	}
	return "", nil
}

func TestAMachineThatStandsStillIsNotLost(t *testing.T) {
	a, _ := client()
	h := &halted{dialer: serve(t, newGuest())}
	h.now.Store(true)
	s := connectFor(t, a, h, 40*time.Millisecond)
	select {
	case <-s.Done():
		t.Fatalf("lost: %v", s.Err())
	case <-time.After(300 * time.Millisecond):
	}
	h.now.Store(false)
	select {
	case <-s.Done():
		require.ErrorIs(t, s.Err(), domain.ErrAgentLost)
	case <-time.After(5 * time.Second):
		t.Fatal("it runs, and its silence is not seen")
	}
}

func TestTheDiskOfAGuestThatLies(t *testing.T) {
	d := toStatus(&agentv1.Status{Disk: &agentv1.DiskUsage{DeviceBytes: 1<<64 - 1, TotalBytes: 1 << 63, FreeBytes: 1<<64 - 1, TotalInodes: 5, FreeInodes: 6}}).Disk
	require.Equal(t, domain.DiskUsage{Device: maxDiskBytes, Total: maxDiskBytes, Free: maxDiskBytes, Inodes: 5, FreeInodes: 5}, d)
	require.False(t, toStatus(&agentv1.Status{}).Disk.Known())
}
