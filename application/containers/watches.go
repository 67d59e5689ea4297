package containers

import (
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"arcbox/application/port"
	"arcbox/domain"
)

const (
	// maxTouch bounds the changes of one call to the guest, and so its size.
	maxTouch = 512
	// touchTimeout is how long a guest may take for all that is told at once. A
	// later change is worth more than one that it cannot take.
	touchTimeout = 30 * time.Second
)

// WatchOptions is how Watches behaves.
type WatchOptions struct {
	// Enabled is vm.watch.
	Enabled bool
	// Shares are those that guests have.
	Shares []domain.Share
}

// Watches has changes on the host wake watchers in containers: what running
// containers bind of the shares is watched on the host, and what changes there
// is told to the guest. It is used by Network.
type Watches struct {
	options WatchOptions
	trees   port.TreeWatcher
	paths   port.HostPaths
	events  port.EventPublisher
	log     *slog.Logger
}

// NewWatches returns watches of nothing.
func NewWatches(o WatchOptions, trees port.TreeWatcher, paths port.HostPaths, events port.EventPublisher, log *slog.Logger) *Watches {
	return &Watches{options: o, trees: trees, paths: paths, events: events, log: log}
}

// begin makes the watches of one run of a machine, which are of nothing when
// they are not wanted or the guest cannot be told.
func (w *Watches) begin(machine domain.MachineName, session port.AgentSession) *watchRun {
	if w == nil || !w.options.Enabled {
		return nil
	}
	guest, ok := session.(port.Toucher)
	if !ok {
		return nil
	}
	return &watchRun{watches: w, machine: machine, guest: guest, log: w.log.With("machine", string(machine)), wake: make(chan struct{}, 1)}
}

// wanted returns the trees for bind sources. The engine has them as the guest
// sees them; links on the way are followed as far as the share, whose own path
// is the guest's.
func (w *Watches) wanted(binds []string) []string {
	type root struct{ path, resolved string }
	var roots []root
	for _, s := range w.options.Shares {
		if h, err := w.paths.Inspect(s.Path); err == nil {
			roots = append(roots, root{s.Path, h.Resolved})
		}
	}
	var inside []string
	for _, b := range binds {
		h, err := w.paths.Inspect(b)
		if err != nil || h.Kind == domain.HostPathSocket || h.Kind == domain.HostPathOther {
			continue
		}
		var in root
		for _, r := range roots {
			if domain.Within(h.Resolved, r.resolved) && len(r.resolved) > len(in.resolved) {
				in = r
			}
		}
		if in.path != "" {
			inside = append(inside, path.Join(in.path, strings.TrimPrefix(h.Resolved, in.resolved)))
		}
	}
	return domain.WatchTrees(inside, w.options.Shares)
}

// tell publishes that not everything is watched, or that it is again.
func (w *Watches) tell(log *slog.Logger, machine domain.MachineName, err error) {
	if err == nil {
		log.Info("all changes on the host wake watchers in containers again")
		return
	}
	detail := err.Error()
	if hint := domain.Hint(err); hint != "" {
		detail = fmt.Sprintf("%s (%s)", detail, hint)
	}
	log.Warn("not all changes on the host wake watchers in containers", "reason", detail)
	w.events.Publish(domain.Event{Kind: domain.EventWatchIncomplete, Machine: machine, Time: time.Now(), Detail: detail})
}

// named are the changes whose paths the guest can be told: they are UTF-8 on the
// wire.
func named(changes []domain.PathChange) []domain.PathChange {
	out := make([]domain.PathChange, 0, len(changes))
	for _, c := range changes {
		if utf8.ValidString(c.Path) {
			out = append(out, c)
		}
	}
	return out
}
