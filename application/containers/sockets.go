package containers

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"arcbox/application/port"
	"arcbox/domain"
)

// SocketDialer connects to Unix sockets of the host. The caller owns the streams.
type SocketDialer interface {
	// Dial follows links on the way to path.
	Dial(ctx context.Context, path string) (port.Stream, error)
	// DialExact refuses them with domain.ErrPermission.
	DialExact(ctx context.Context, path string) (port.Stream, error)
}

// SocketOptions is what guests may reach.
type SocketOptions struct {
	// Shares are the guest's, as domain.ParseShares returns them.
	Shares []domain.Share
	// DataDir is ArcBox's own directory: nothing in it is reached.
	DataDir string
	// SSHAgent is the path of the user's SSH agent; empty is "no agent".
	SSHAgent string
	// Paths looks at what the guest names.
	Paths port.HostPaths
}

// Sockets connects guests to sockets of the host. It implements
// port.SocketHandler and may be used for several machines.
type Sockets struct {
	options  SocketOptions
	rules    domain.BindRules
	dialer   SocketDialer
	log      *slog.Logger
	complain *complaints
}

var _ port.SocketHandler = (*Sockets)(nil)

// NewSockets returns a handler that connects by d.
func NewSockets(o SocketOptions, d SocketDialer, log *slog.Logger) *Sockets {
	return &Sockets{options: o, rules: domain.BindRules{Shares: o.Shares, DataDir: o.DataDir}, dialer: d, log: log, complain: &complaints{log: log}}
}

// Run serves one run of a machine until ctx ends or the session is over. A
// session whose agent has no sockets is served by nothing.
func (s *Sockets) Run(ctx context.Context, session port.AgentSession) {
	source, ok := session.(port.SocketSource)
	if !ok {
		return
	}
	if err := source.Sockets(ctx, s); err != nil && ctx.Err() == nil && !closed(session.Done()) {
		s.log.Warn("containers cannot reach sockets of the host any more", "error", err)
	}
}

// sshAgentCure is what helps when there is no agent.
const sshAgentCure = "set docker.ssh_agent to the agent's socket, or start the daemon with SSH_AUTH_SOCK set"

// DialService implements port.SocketHandler. A service that is not there is
// domain.ErrUnavailable, with a hint; an unknown one domain.ErrNotFound.
func (s *Sockets) DialService(ctx context.Context, service string) (port.Stream, error) {
	c, err := s.dialService(ctx, service)
	if err != nil {
		s.complain.warn(ctx, "service", service, err)
		return nil, err
	}
	return c, nil
}

func (s *Sockets) dialService(ctx context.Context, service string) (port.Stream, error) {
	switch {
	case service != domain.SSHAgentService:
		return nil, fmt.Errorf("the host has no service %q: %w", service, domain.ErrNotFound)
	case s.options.SSHAgent == "":
		return nil, domain.WithHint(fmt.Errorf("the host's SSH agent is not known: %w", domain.ErrUnavailable), sshAgentCure)
	}
	c, err := s.dialer.Dial(ctx, s.options.SSHAgent)
	if err != nil {
		return nil, domain.WithHint(fmt.Errorf("the host's SSH agent does not answer: %w: %w", err, domain.ErrUnavailable), sshAgentCure)
	}
	return c, nil
}

// DialPath implements port.SocketHandler. What containers may not have is
// domain.ErrPermission, whatever is there.
func (s *Sockets) DialPath(ctx context.Context, path string) (port.Stream, error) {
	c, err := s.dialPath(ctx, path)
	if err != nil {
		s.complain.warn(ctx, "path", path, err)
		return nil, err
	}
	return c, nil
}

func (s *Sockets) dialPath(ctx context.Context, path string) (port.Stream, error) {
	resolved, err := allowedSocket(s.rules, path, s.options.Paths.Inspect)
	if err != nil {
		return nil, err
	}
	// The guest can write there: what was judged and what is connected to have to
	// be the same.
	c, err := s.dialer.DialExact(ctx, resolved)
	if err != nil {
		return nil, fmt.Errorf("connect to the host's socket: %w", err)
	}
	return c, nil
}

// allowedSocket decides about a path that a guest names: what a new container
// would be offered now is allowed. It returns the path without links. Outside of
// the shares nothing is looked at.
func allowedSocket(rules domain.BindRules, path string, inspect func(string) (domain.HostPath, error)) (resolved string, err error) {
	if !slices.ContainsFunc(rules.Shares, func(s domain.Share) bool { return domain.Within(path, s.Path) }) {
		return "", fmt.Errorf("the path is not in a shared directory: %w", domain.ErrPermission)
	}
	bind, err := rules.Judge(path, func(p string) (domain.HostPath, error) {
		found, err := inspect(p)
		if p == path {
			resolved = found.Resolved
		}
		return found, err
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %w", err, domain.ErrPermission)
	case !bind.Offer || resolved == "":
		return "", fmt.Errorf("there is no socket: %w", domain.ErrPermission)
	}
	return resolved, nil
}
