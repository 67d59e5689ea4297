package hostsockets

import (
	"log/slog"
	"sync"
	"time"
)

// complaintPause is the shortest time between two lines of the log: containers
// can connect in a loop.
const complaintPause = 2 * time.Second

// limiter writes to the log why clients are turned away, but not each time.
type limiter struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
	more int // since then
}

func (l *limiter) warn(to Target, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && time.Since(l.last) < complaintPause {
		l.more++
		return
	}
	l.log.Warn("connection to a socket of the host refused", "to", to.String(), "error", why, "others_since", l.more)
	l.last, l.more = time.Now(), 0
}
