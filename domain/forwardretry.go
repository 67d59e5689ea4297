package domain

import (
	"errors"
	"fmt"
	"time"
)

// Pauses between attempts to take a port that somebody else has.
const (
	firstForwardPause   = 500 * time.Millisecond
	longestForwardPause = 15 * time.Second
)

// ForwardPause is how long to wait after tries attempts have failed: 500 ms,
// doubling up to 15 s, for as long as the port is wanted.
func ForwardPause(tries int) time.Duration {
	pause := firstForwardPause
	for range tries - 1 {
		if pause *= 2; pause >= longestForwardPause {
			return longestForwardPause
		}
	}
	return pause
}

// ForwardStateFor is the state of a forward whose opening ended with err. What
// another attempt cannot change is refused; anything else may pass.
func ForwardStateFor(err error) ForwardState {
	switch {
	case err == nil:
		return ForwardActive
	case errors.Is(err, ErrPermission), errors.Is(err, ErrUnsupported), errors.Is(err, ErrInvalid):
		return ForwardRefused
	}
	return ForwardConflict
}

func invalidRule(r ForwardRule, why string) error {
	return fmt.Errorf("forward %.200q: %s: %w", r.String(), why, ErrInvalid)
}
