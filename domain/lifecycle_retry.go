package domain

import (
	"errors"
	"time"
)

// RetrySchedule says when a failed boot is tried again.
type RetrySchedule struct {
	Tries int           // in all, the first included
	Base  time.Duration // pause after the first failure; it doubles
	Cap   time.Duration // longest pause
}

// BootRetries is the schedule of boots: 3 tries, 500 ms doubling up to 10 s.
func BootRetries() RetrySchedule {
	return RetrySchedule{Tries: 3, Base: 500 * time.Millisecond, Cap: 10 * time.Second}
}

// Next returns the pause before another try after tried tries have failed, or
// false when there is none: the tries are used up, or the pause would not end
// before left, the rest of the budget, does.
func (r RetrySchedule) Next(tried int, left time.Duration) (time.Duration, bool) {
	if tried < 1 || tried >= r.Tries {
		return 0, false
	}
	pause := r.Base
	for range tried - 1 {
		if pause >= r.Cap {
			break
		}
		pause *= 2
	}
	pause = min(pause, r.Cap)
	return pause, pause < left
}

// BootRetryable says whether the same boot can have another outcome: not when
// the host cannot run it, the files are not what they must be, or host and
// guest do not fit together.
func BootRetryable(err error) bool {
	for _, final := range []error{ErrUnsupported, ErrProtocol, ErrCorrupt, ErrInvalid, ErrPermission, ErrCanceled} {
		if errors.Is(err, final) {
			return false
		}
	}
	return err != nil
}

// Budget is a time limit made for hardware virtualization, stretched by factor
// where the guest's code is emulated.
func Budget(d time.Duration, acc Accelerator, factor int) time.Duration {
	if acc == AcceleratorTCG && factor > 1 {
		return d * time.Duration(factor)
	}
	return d
}
