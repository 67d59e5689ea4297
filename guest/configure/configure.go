// Package configure makes the guest what the host says of itself: its shared
// directories are at their paths, its certificate authorities are trusted, its
// time zone is local, and its proxies are known to the engine.
package configure

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"arcbox/domain"
)

// SharesDir is where the guest has the file system of shares; only the guest's
// root can look into it.
const SharesDir = "/run/arcbox/shares"

// Config is what a Guest is made of.
type Config struct {
	// Root is what /etc is below: "" in a guest.
	Root string
	// Dir is where the file system of shares is mounted: SharesDir in a guest.
	Dir string
	// Mounts mounts it.
	Mounts Mounts
	Log    *slog.Logger
}

// Guest is configured by the host, any number of times. Its methods may be
// called by any goroutine.
type Guest struct {
	cfg   Config
	first chan struct{} // closed after the first configuration

	changing sync.Mutex // held by Apply; what follows is its own
	shares   shares
	trust    trust
	zone     zone
	done     bool

	mu      sync.Mutex
	proxy   domain.Proxy
	mounted []Mounted
}

// New returns a guest that knows nothing of its host.
func New(cfg Config) *Guest {
	return &Guest{
		cfg: cfg, first: make(chan struct{}),
		shares: shares{dir: cfg.Dir, mounts: cfg.Mounts},
		trust:  trust{path: filepath.Join(cfg.Root, "/etc/ssl/certs/ca-certificates.crt"), log: cfg.Log},
		zone:   zone{path: filepath.Join(cfg.Root, "/etc/localtime")},
	}
}

// Apply makes the guest as c says, which replaces all that an earlier c said.
// Its sockets are set by sockets, whose errors are of the same kinds. What a
// running process has read stays
// with it: Go reads certificates and the time zone once, and an environment is
// given at the start; so the engine takes them when it starts the next time. An
// error that is domain.ErrInvalid means that c makes no sense and has changed
// nothing; one that is domain.ErrInvalidState names what could not be had, and
// everything else is as c says.
func (g *Guest) Apply(c domain.GuestConfig, sockets func([]domain.GuestSocket) error) error {
	if err := check(c); err != nil {
		return fmt.Errorf("configure the guest: %w", err)
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	var late []string // what the engine has read already
	err := sockets(c.Sockets)
	if errors.Is(err, domain.ErrInvalid) {
		return fmt.Errorf("configure the guest: %w", err)
	}
	problems := []error{err, g.shares.set(c.Shares)}
	changed, err := g.trust.set(c.Certificates)
	problems = append(problems, err)
	if changed {
		late = append(late, "certificates")
	}
	changed, err = g.zone.set(c.TimeZone)
	problems = append(problems, err)
	if changed {
		late = append(late, "time zone")
	}
	if g.publish(c.Proxy) {
		late = append(late, "proxy")
	}
	if g.done && len(late) > 0 {
		g.cfg.Log.Info("the engine has started before: it takes what has changed when it starts the next time", "changed", late)
	}
	if !g.done {
		g.done = true
		close(g.first)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("configure the guest: %w: %w", err, domain.ErrInvalidState)
	}
	return nil
}

// publish makes the results visible to others.
func (g *Guest) publish(p domain.Proxy) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed = g.proxy != p
	g.proxy, g.mounted = p, g.shares.list()
	return changed
}

// First is closed after the first configuration.
func (g *Guest) First() <-chan struct{} { return g.first }

// Proxy returns the host's, as it was said last.
func (g *Guest) Proxy() domain.Proxy { g.mu.Lock(); defer g.mu.Unlock(); return g.proxy }

// Mounted returns the shares that are there.
func (g *Guest) Mounted() []Mounted { g.mu.Lock(); defer g.mu.Unlock(); return g.mounted }

// Unmount takes the shares away, for the end of the machine.
func (g *Guest) Unmount() error {
	g.changing.Lock()
	defer g.changing.Unlock()
	err := g.shares.set(nil)
	g.publish(g.Proxy())
	return err
}
