package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/domain"
)

func hostConfig() domain.GuestConfig {
	return domain.GuestConfig{Shares: []domain.Share{{Path: "/home/me"}, {Path: "/data", ReadOnly: true}}, Proxy: domain.Proxy{HTTP: "proxy:3128"}}
}

func TestAGuestIsToldOfTheHostBeforeItCounts(t *testing.T) {
	world(t, func(t *testing.T, r *lifecycletest.Rig) {
		r.Config = func(context.Context) (domain.GuestConfig, error) { return hostConfig(), nil }
		var told []domain.GuestConfig
		r.Configure = func(ctx context.Context, g *lifecycletest.Guest, c domain.GuestConfig) error {
			told = append(told, c)
			return lifecycletest.Wait(time.Second)(ctx, g)
		}
		begin := time.Now()
		a := r.Actor(t, lifecycletest.Options())
		_, err := a.EnsureReady(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(begin))
		require.Equal(t, []domain.GuestConfig{hostConfig()}, told)
		require.Equal(t, hostConfig().Shares, r.Guest().Plan.Shares)
		require.True(t, r.Guest().Shared)
		require.NoError(t, a.Stop(t.Context())) // the rig refuses to close shares before their machine is down
	})
}

func TestSharesHaveAWireOnlyWhereItIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		config domain.GuestConfig
		none   bool
	}{
		"no shares":                {domain.GuestConfig{}, false},
		"served by the hypervisor": {hostConfig(), true},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, r *lifecycletest.Rig) {
				r.Config = func(context.Context) (domain.GuestConfig, error) { return c.config, nil }
				r.OpenShare = func([]domain.Share) error { return errors.New("nobody asked for it") }
				if c.none {
					r.Ports.Shares = nil
				}
				_, err := r.Actor(t, lifecycletest.Options()).EnsureReady(t.Context())
				require.NoError(t, err)
				require.False(t, r.Guest().Shared)
				require.Equal(t, c.config.Shares, r.Guest().Plan.Shares)
			})
		})
	}
}

func TestAGuestThatCannotBeConfiguredDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*lifecycletest.Rig)
		kind    error
		text    string
		started int
		after   time.Duration
	}{
		"the configuration cannot be read": {func(r *lifecycletest.Rig) {
			r.Config = func(context.Context) (domain.GuestConfig, error) {
				return domain.GuestConfig{}, domain.WithHint(errors.Join(errors.New("/srv is not a directory"), domain.ErrInvalid), "make it")
			}
		}, domain.ErrInvalid, "/srv is not a directory", 0, 0},
		"shares cannot be opened": {func(r *lifecycletest.Rig) {
			r.OpenShare = func([]domain.Share) error { return domain.ErrInvalid }
		}, domain.ErrInvalid, "opening the shared directories", 0, 0},
		"the guest cannot mount": {func(r *lifecycletest.Rig) {
			r.Configure = func(context.Context, *lifecycletest.Guest, domain.GuestConfig) error {
				return errors.Join(errors.New("share /home/me: no such device"), domain.ErrInvalid)
			}
		}, domain.ErrInvalid, "configuring the guest: share /home/me: no such device", 1, 0},
		"the guest is older": {func(r *lifecycletest.Rig) {
			r.Configure = func(context.Context, *lifecycletest.Guest, domain.GuestConfig) error { return domain.ErrProtocol }
		}, domain.ErrProtocol, "do not fit", 1, 0},
		"the guest does not answer": {func(r *lifecycletest.Rig) {
			r.Configure = func(ctx context.Context, g *lifecycletest.Guest, _ domain.GuestConfig) error {
				return lifecycletest.Wait(time.Hour)(ctx, g)
			}
		}, domain.ErrTimeout, "| Kernel panic", 1, 90 * time.Second},
		"the guest dies of it": {func(r *lifecycletest.Rig) {
			r.Configure = func(ctx context.Context, g *lifecycletest.Guest, _ domain.GuestConfig) error {
				g.Exit(errors.New("signal: killed"))
				<-ctx.Done()
				return ctx.Err()
			}
		}, domain.ErrUnavailable, "the virtual machine went down (unavailable): signal: killed", 3, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, r *lifecycletest.Rig) {
				r.Config = func(context.Context) (domain.GuestConfig, error) { return hostConfig(), nil }
				c.spoil(r)
				begin := time.Now()
				_, err := r.Actor(t, lifecycletest.Options()).EnsureReady(t.Context())
				require.ErrorIs(t, err, c.kind)
				require.ErrorContains(t, err, c.text)
				require.Len(t, r.Guests(), c.started)
				require.Equal(t, c.after, time.Since(begin))
			})
		})
	}
}
