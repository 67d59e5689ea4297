package clock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

type fake struct {
	now  time.Time
	sets int
}

func (f *fake) Now() time.Time        { return f.now }
func (f *fake) Set(t time.Time) error { f.now = t; f.sets++; return nil }

func TestAdjust(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		host time.Time
		want time.Duration
		bad  bool
	}{
		"same":                {host: now},
		"near enough":         {host: now.Add(Threshold)},
		"behind by minutes":   {host: now.Add(10 * time.Minute), want: 10 * time.Minute},
		"ahead":               {host: now.Add(-time.Second), want: -time.Second},
		"before certificates": {host: time.Unix(0, 0), bad: true},
		"beyond reason":       {host: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{now: now}
			step, err := New(f).Adjust(c.host)
			if c.bad {
				require.ErrorIs(t, err, domain.ErrInvalid)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, c.want, step)
			require.Equal(t, now.Add(c.want), f.now)
			require.Equal(t, c.want != 0, f.sets == 1)
		})
	}
}

func TestGuard(t *testing.T) {
	f := &fake{now: time.Unix(1000, 0)}
	require.NoError(t, New(f).Guard())
	require.Equal(t, 2020, f.now.Year())
	require.NoError(t, New(f).Guard())
	require.Equal(t, 1, f.sets)
}
