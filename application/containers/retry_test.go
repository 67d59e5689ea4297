package containers_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// Two ports of ours that exclude each other, and another program has both: a
// failed attempt for one must not have the other tried at once.
func TestConflictsThatOverlapDoNotTryEachOther(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.occupy("0.0.0.0:5000", true)
		h.occupy("127.0.0.1:5000", true)
		g := h.guest()
		require.NoError(t, g.Bind(t.Context(), lease("1", "tcp 0.0.0.0:5000", "172.17.0.2:80")))
		require.NoError(t, g.Bind(t.Context(), lease("2", "tcp 127.0.0.1:5000", "172.17.0.3:80")))
		before := h.rig.Opens()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Less(t, h.rig.Opens()-before, 200)
		h.occupy("0.0.0.0:5000", false)
		h.occupy("127.0.0.1:5000", false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Len(t, h.listening(), 1)
	})
}

// What the guest has already is opened beside what it asks for next: docker run
// must not wait for a port of another container that takes its time.
func TestASlowPortDoesNotHoldUpTheNextRequest(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		slow := func(ctx context.Context, r domain.ForwardRule) error {
			if r.Host.Port() < 4000 {
				select {
				case <-time.After(9 * time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		}
		h.rig.Forward = slow
		g := h.guest()
		began := time.Now()
		g.Reset([]port.ForwardLease{lease("1", "tcp 0.0.0.0:3001", "172.17.0.2:1"), lease("2", "tcp 0.0.0.0:3002", "172.17.0.2:2")})
		g.Listeners([]domain.GuestListener{{Container: id("a"), Protocol: domain.TCP, Addr: rule("tcp 0.0.0.0:3003", "1.1.1.1:1").Host}})
		require.NoError(t, g.Bind(t.Context(), lease("3", "tcp 0.0.0.0:8080", "172.17.0.2:80")))
		require.Equal(t, began, time.Now())
		require.Equal(t, []string{"0.0.0.0:8080/tcp"}, h.listening())
		time.Sleep(9 * time.Second)
		synctest.Wait()
		require.Len(t, h.listening(), 5, "side by side, not one after the other: %v", h.listening())
	})
}

func TestALeaseThatEndsWhileItIsOpenedAgainLeavesNothing(t *testing.T) {
	onHost(t, func(t *testing.T, h *host) {
		h.rig.Forward = func(ctx context.Context, _ domain.ForwardRule) error { <-ctx.Done(); return ctx.Err() }
		g := h.guest()
		g.Reset([]port.ForwardLease{lease("1", "tcp 0.0.0.0:3001", "172.17.0.2:1")})
		synctest.Wait()
		now := time.Now()
		g.Release("1")
		require.Equal(t, now, time.Now())
		require.Empty(t, h.forwards.Forwards())
		g.Reset([]port.ForwardLease{lease("2", "tcp 0.0.0.0:3001", "172.17.0.2:1")})
		synctest.Wait()
		h.stop()
		require.Equal(t, now, time.Now(), "nor does the daemon's stop wait")
	})
}
