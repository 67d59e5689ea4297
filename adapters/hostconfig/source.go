// Package hostconfig reads what of the host matters to a guest: its shared
// directories, proxies, certificate authorities and time zone.
package hostconfig

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"

	"arcbox/application/port"
	"arcbox/domain"
)

// Options are fixed for the life of a Source.
type Options struct {
	// Shares are given to the guest as they are. Each has to be a directory
	// whenever the configuration is read.
	Shares []domain.Share
	// Proxy is what the user has configured; what it does not set is the host's.
	Proxy     domain.Proxy
	ProxyMode domain.ProxyMode // "" is domain.ProxyAuto
	// Environ is the daemon's own environment, "NAME=value". Of two entries with
	// one name the first counts.
	Environ []string
	// Gateway is the host's address in the guest's network, which is reached
	// without a proxy. The zero value is none.
	Gateway netip.Addr
	// SSHAgent offers the user's SSH agent at domain.SSHAgentSocket, whether one
	// runs at the moment or not.
	SSHAgent bool
	Log      *slog.Logger
}

// Source implements port.HostConfig. Its methods may be called concurrently.
type Source struct {
	options Options
	env     map[string]string
	host    host
	certs   certificateCache

	mu    sync.Mutex
	noted map[string]string      // subject to the last problem that was logged
	asked map[string]*shareCheck // shares that are being looked at
	given *digest                // of what GuestConfig returned last
}

var _ port.HostConfig = (*Source)(nil)

// host is where a kind of computer keeps what is read. Empty fields are what it
// does not have.
type host struct {
	environment string   // file with the environment of logins
	localtime   string   // file with the time zone
	zoneinfo    []string // directories of time zones
	certFiles   []string // the first that exists counts
	certDirs    []string // for when no file exists
	keychains   []string
	signs       []string // further files that change when the proxy settings may have
	// readKeychain returns the trusted authorities of a keychain in PEM.
	readKeychain func(ctx context.Context, path string) ([]byte, error)
	// proxy returns the proxy settings outside the environment.
	proxy func(ctx context.Context) (domain.Proxy, error)
}

// New checks the options; a bad proxy or share is domain.ErrInvalid. Nothing is
// read yet.
func New(o Options) (*Source, error) { return newSource(o, thisHost()) }

func newSource(o Options, h host) (*Source, error) {
	switch o.ProxyMode {
	case "":
		o.ProxyMode = domain.ProxyAuto
	case domain.ProxyAuto, domain.ProxyNone:
	default:
		return nil, fmt.Errorf("proxy mode %q: want auto or none: %w", o.ProxyMode, domain.ErrInvalid)
	}
	if err := o.Proxy.Check(); err != nil {
		return nil, fmt.Errorf("configured proxy: %w", err)
	}
	for _, s := range o.Shares {
		if !filepath.IsAbs(s.Path) || filepath.Clean(s.Path) != s.Path {
			return nil, fmt.Errorf("vm.mounts: %q is no clean absolute path: %w", s.Path, domain.ErrInvalid)
		}
	}
	env := map[string]string{}
	for _, e := range o.Environ {
		name, value, ok := strings.Cut(e, "=")
		if _, known := env[name]; ok && !known {
			env[name] = value
		}
	}
	return &Source{options: o, env: env, host: h, noted: map[string]string{}, asked: map[string]*shareCheck{}}, nil
}

// GuestConfig implements port.HostConfig. A share that is not a directory is
// domain.ErrInvalid, one whose file system does not answer domain.ErrTimeout; the other parts are left out when they cannot be read, and
// logged when they were not before.
func (s *Source) GuestConfig(ctx context.Context) (domain.GuestConfig, error) {
	for _, share := range s.options.Shares {
		if err := s.checkShare(ctx, share.Path); err != nil {
			return domain.GuestConfig{}, err
		}
	}
	c := s.read(ctx)
	if err := ctx.Err(); err != nil {
		return domain.GuestConfig{}, fmt.Errorf("reading the host's configuration: %w", err)
	}
	sum := digestOf(c)
	s.mu.Lock()
	s.given = &sum
	s.mu.Unlock()
	c.Shares = append([]domain.Share(nil), s.options.Shares...)
	if s.options.SSHAgent {
		c.Sockets = []domain.GuestSocket{{Service: domain.SSHAgentService, Path: domain.SSHAgentSocket}}
	}
	return c, nil
}

// Proxy returns the proxies of GuestConfig alone. What cannot be read is left out
// and logged.
func (s *Source) Proxy(ctx context.Context) domain.Proxy { return s.proxy(ctx) }

// read returns the parts that may change while a guest runs.
func (s *Source) read(ctx context.Context) (c domain.GuestConfig) {
	c.Proxy = s.proxy(ctx)
	var err error
	c.Certificates, err = s.certificates(ctx)
	s.note(ctx, "certificates", err)
	c.TimeZone, err = s.timeZone()
	s.note(ctx, "time zone", err)
	return c
}

// note logs a problem once, and again when it has changed or come back.
func (s *Source) note(ctx context.Context, subject string, err error) {
	if ctx.Err() != nil { // its consequences are no news about the host
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	news := text != s.noted[subject]
	s.noted[subject] = text
	s.mu.Unlock()
	if news && err != nil {
		s.options.Log.Warn("the guest does not have everything of the host", "missing", subject, "error", err)
	}
}
