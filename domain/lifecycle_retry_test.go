package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	. "arcbox/domain"
)

func TestRetrySchedule(t *testing.T) {
	const ms = time.Millisecond
	long := RetrySchedule{Tries: 8, Base: 500 * ms, Cap: 10 * time.Second}
	for _, c := range []struct {
		schedule RetrySchedule
		tried    int
		left     time.Duration
		pause    time.Duration
		again    bool
	}{
		{BootRetries(), 1, time.Minute, 500 * ms, true},
		{BootRetries(), 2, time.Minute, 1000 * ms, true},
		{BootRetries(), 3, time.Minute, 0, false},
		{BootRetries(), 0, time.Minute, 0, false},
		{long, 5, time.Minute, 8 * time.Second, true},
		{long, 6, time.Minute, 10 * time.Second, true},
		{long, 7, time.Minute, 10 * time.Second, true},
		{long, 1, 500 * ms, 500 * ms, false},
		{long, 1, 501 * ms, 500 * ms, true},
		{long, 1, -time.Second, 500 * ms, false},
	} {
		pause, again := c.schedule.Next(c.tried, c.left)
		require.Equal(t, c.again, again, "%+v", c)
		require.Equal(t, c.pause, pause, "%+v", c)
	}
}

func TestBootRetryable(t *testing.T) {
	for err, want := range map[error]bool{
		nil:                    false,
		errors.New("whatever"): true,
		ErrTimeout:             true,
		ErrUnavailable:         true,
		ErrUnsupported:         false,
		ErrProtocol:            false,
		ErrChecksum:            false,
		ErrInvalid:             false,
		ErrCanceled:            false,
	} {
		if err != nil {
			err = fmt.Errorf("trying: %w", err)
		}
		require.Equal(t, want, BootRetryable(err), "%v", err)
	}
}

func TestBudget(t *testing.T) {
	require.Equal(t, time.Minute, Budget(time.Minute, AcceleratorKVM, 4))
	require.Equal(t, 4*time.Minute, Budget(time.Minute, AcceleratorTCG, 4))
	require.Equal(t, time.Minute, Budget(time.Minute, AcceleratorTCG, 0))
}

func TestConsoleExcerpt(t *testing.T) {
	require.Empty(t, ConsoleExcerpt("console", nil))
	require.Empty(t, ConsoleExcerpt("console", []string{"", "\x00 "}))
	got := ConsoleExcerpt("console", []string{"one\x1b[31m", "\u202etwo\tx", strings.Repeat("y", 1000)})
	require.Equal(t, "\nconsole:\n  | one[31m\n  | two x\n  | "+strings.Repeat("y", 300), got)
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2Jb\xff", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = max(0, limit%1000)
		got := Printable(s, limit)
		require.LessOrEqual(t, len([]rune(got)), limit)
		require.NotContains(t, got, "\x1b")
		require.NotContains(t, got, "\n")
	})
}
