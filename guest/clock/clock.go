// Package clock keeps the guest's clock at the host's time. The guest has no
// time service of its own, and its clock stands still while the host sleeps.
package clock

import (
	"fmt"
	"sync"
	"time"

	"arcbox/domain"
)

// Threshold is how far the clocks may differ before the guest's is moved; it
// is above the time that the message itself may take on a slow host.
const Threshold = 100 * time.Millisecond

// Certificates are not valid at a clock before earliest, which is what a
// machine without a battery clock starts with; latest keeps a bad message from
// setting a time that file systems cannot hold.
var (
	earliest = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// System is the clock that is set.
type System interface {
	Now() time.Time
	Set(time.Time) error
}

// Clock serialises the settings of one System.
type Clock struct {
	mu  sync.Mutex
	sys System
}

// New returns a Clock for sys.
func New(sys System) *Clock { return &Clock{sys: sys} }

// Adjust sets the clock to host when they differ by more than Threshold, and
// returns by how much it was moved. A host time before 2020 or after 2099 is
// domain.ErrInvalid and changes nothing.
func (c *Clock) Adjust(host time.Time) (time.Duration, error) {
	if host.Before(earliest) || !host.Before(latest) {
		return 0, fmt.Errorf("set the clock to %s: %w", host.UTC().Format(time.RFC3339), domain.ErrInvalid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	step := host.Round(0).Sub(c.sys.Now().Round(0))
	if step.Abs() <= Threshold {
		return 0, nil
	}
	if err := c.sys.Set(host); err != nil {
		return 0, fmt.Errorf("set the clock: %w", err)
	}
	return step, nil
}

// Guard moves a clock that is before 2020 to its beginning.
func (c *Clock) Guard() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sys.Now().Before(earliest) {
		return nil
	}
	if err := c.sys.Set(earliest); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}
