//go:build linux

package publish

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func rule(port uint16) domain.ForwardRule {
	return domain.ForwardRule{Protocol: domain.TCP,
		Host: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Target: netip.MustParseAddrPort("172.17.0.2:80")}
}

func next(t *testing.T, h *Host) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	e, err := h.Next(ctx)
	require.NoError(t, err)
	return e
}

// fresh attaches a host and passes over what it is told first.
func fresh(t *testing.T, b *Broker) *Host {
	h := b.Attach()
	require.Equal(t, Snapshot{}, next(t, h))
	require.Equal(t, Listeners{}, next(t, h))
	return h
}

func TestWithoutAHostARequestIsRefusedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, begin := NewBroker(), time.Now()
		_, err := b.Bind(t.Context(), rule(80))
		require.ErrorIs(t, err, errNoHost)
		require.Equal(t, hostWait, time.Since(begin))
		require.Empty(t, b.leases)
		require.NoError(t, b.Release(t.Context(), "1"))
	})
}

func TestAHostThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker()
		h := fresh(t, b)
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), bindLimit)
		defer cancel()
		_, err := b.Bind(ctx, rule(80))
		require.ErrorIs(t, err, errNoAnswer)
		require.Equal(t, Bind{Lease{"1", rule(80)}}, next(t, h))
		require.Equal(t, Release{"1"}, next(t, h), "it may have opened the port")
		h.Answer("1", "") // too late, and nothing comes of it

		h2 := b.Attach()
		require.Equal(t, Snapshot{}, next(t, h2))
		_, err = h.Next(t.Context())
		require.ErrorIs(t, err, errHostGone)
		h2.Close()
		h2.Close()
	})
}

func TestARequestSurvivesTheChangeOfItsHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker()
		b.SetListeners([]domain.GuestListener{{Container: "c"}})
		h := b.Attach()
		got := make(chan error, 2)
		go func() { _, err := b.Bind(t.Context(), rule(80)); got <- err }()
		synctest.Wait()
		go func() { _, err := b.Bind(t.Context(), rule(81)); got <- err }()
		synctest.Wait()
		h.Answer("1", "")
		require.NoError(t, <-got)
		h.Close()
		time.Sleep(hostWait - time.Second) // the daemon comes back in time
		h = b.Attach()
		defer h.Close()
		require.Equal(t, Snapshot{[]Lease{{"1", rule(80)}}}, next(t, h))
		require.Equal(t, Listeners{[]domain.GuestListener{{Container: "c"}}}, next(t, h))
		require.Equal(t, Bind{Lease{"2", rule(81)}}, next(t, h))
		h.Answer("2", "taken")
		require.EqualError(t, <-got, "taken")
		require.Len(t, b.leases, 1)

		freed := make(chan error)
		go func() { freed <- b.Release(t.Context(), "1") }()
		require.Equal(t, Release{"1"}, next(t, h))
		synctest.Wait()
		require.Empty(t, freed)
		h.Released("1")
		require.NoError(t, <-freed)
	})
}

func TestAReleaseDoesNotWaitForAHostThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker()
		h := fresh(t, b)
		freed := make(chan error)
		go func() { freed <- b.Release(t.Context(), "1") }()
		synctest.Wait()
		h.Close()
		require.NoError(t, <-freed)

		h = fresh(t, b)
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), releaseLimit)
		defer cancel()
		require.ErrorIs(t, b.Release(ctx, "2"), context.DeadlineExceeded)
		require.Empty(t, h.releasing)
	})
}

func TestTheEndOfAProxyEndsItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker()
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(time.Second); cancel(errProxyGone) }()
		_, err := b.Bind(ctx, rule(80))
		require.ErrorIs(t, err, errProxyGone)
	})
}

func TestListenersAreToldAsTheyAreNow(t *testing.T) {
	b := NewBroker()
	h := fresh(t, b)
	defer h.Close()
	for _, c := range []string{"a", "b"} {
		b.SetListeners([]domain.GuestListener{{Container: c}})
	}
	require.Equal(t, Listeners{[]domain.GuestListener{{Container: "b"}}}, next(t, h))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := h.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestLeasesAndQueuesAreBounded(t *testing.T) {
	b := NewBroker()
	for range MaxLeases {
		_, _, err := b.enter(rule(80))
		require.NoError(t, err)
	}
	_, err := b.Bind(t.Context(), rule(80))
	require.ErrorIs(t, err, errTooMany)

	h := b.Attach()
	for range maxQueue {
		b.drop("x", true)
	}
	_, err = h.Next(t.Context())
	require.ErrorIs(t, err, errHostGone, "a host that does not read is given up")
	require.Nil(t, b.host)
}

func FuzzBind(f *testing.F) {
	f.Add("bind tcp 0.0.0.0 8080 172.17.0.2 80")
	f.Add("bind udp :: 65535 fd00::2 1")
	f.Add("bind tcp ::ffff:1.2.3.4 1 fe80::1%eth0 1")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseBind(s)
		if err != nil {
			require.NotEmpty(t, forUser(err.Error()))
			return
		}
		for _, e := range []netip.AddrPort{r.Host, r.Target} {
			require.True(t, e.IsValid())
			require.NotZero(t, e.Port())
			require.Empty(t, e.Addr().Zone())
			require.False(t, e.Addr().Is4In6())
		}
	})
}

func FuzzForUser(f *testing.F) {
	f.Add("permission denied")
	f.Add("permpermission deniedission denied\n\xff")
	f.Add(strings.Repeat("ü", 3000))
	f.Fuzz(func(t *testing.T, s string) {
		got := forUser(s)
		require.NotEmpty(t, got)
		require.LessOrEqual(t, len(got), maxText)
		require.True(t, utf8.ValidString(got))
		require.NotContains(t, got, "\n")
	})
}
