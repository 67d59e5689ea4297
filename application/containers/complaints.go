package containers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"arcbox/domain"
)

// complaintPause is the shortest time between two lines of the log: a guest can
// ask in a loop.
const complaintPause = 2 * time.Second

// complaints writes to the log what guests are refused, but not each time.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
	more int // since then
}

func (c *complaints) warn(ctx context.Context, kind, what string, why error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // the machine goes down
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.last.IsZero() && time.Since(c.last) < complaintPause {
		c.more++
		return
	}
	attrs := []any{kind, what, "error", why}
	if h := domain.Hint(why); h != "" {
		attrs = append(attrs, "hint", h)
	}
	if c.more > 0 {
		attrs = append(attrs, "others_before", c.more)
	}
	c.log.Warn("a container's connection to a socket of the host was refused", attrs...)
	c.last, c.more = time.Now(), 0
}
