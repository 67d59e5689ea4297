//go:build linux

package guest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// console writes short lines with the time since boot, for whoever watches
// the machine's serial port.
type console struct {
	mu  sync.Mutex
	out io.Writer
}

// maxConsoleLine keeps a console that is slow, or read by a person, usable.
const maxConsoleLine = 300

func (c *console) milestone(text string) {
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > maxConsoleLine {
		text = text[:maxConsoleLine] + "..."
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.out, "arcbox-agent: %d ms: %s\n", sinceBoot(), text) // there is no other place to complain
}

// sinceBoot is the time since the kernel began to count, in milliseconds.
func sinceBoot() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return ts.Nano() / 1e6
}

// handler is the agent's log: everything into its ring, what is wrong on the
// console too.
type handler struct {
	slog.Handler
	console *console
}

func newHandler(ring io.Writer, c *console) slog.Handler {
	return handler{slog.NewTextHandler(ring, nil), c}
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var b strings.Builder
		b.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool {
			fmt.Fprintf(&b, " %s=%s", a.Key, strings.ReplaceAll(a.Value.String(), "\n", "; "))
			return true
		})
		h.console.milestone(b.String())
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.console}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.console}
}
