package containers

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"arcbox/application/port"
	"arcbox/domain"
)

const (
	// guestDockerSocket is the engine's socket in the guest.
	guestDockerSocket = "/var/run/docker.sock"
	// guestCertificates is the guest's bundle of certificate authorities, the
	// host's among them.
	guestCertificates = "/etc/ssl/certs/ca-certificates.crt"
	// containerCertificates is where containers get it: no image has anything there.
	containerCertificates = "/run/arcbox/ca-certificates.crt"
	// maxSources bounds the binds of one request that are looked at on the host.
	maxSources = 1024
)

// CreationOptions is what is done about new containers.
type CreationOptions struct {
	// Route chooses the role of a container from the query and the body of POST
	// /containers/create. Nil is the native role.
	Route func(query url.Values, body []byte) (domain.Role, error)
	// Shares are the guest's, as domain.ParseShares returns them.
	Shares []domain.Share
	// DataDir is ArcBox's own directory, which is never given to containers.
	DataDir string
	// DockerSockets are the paths on the host where the Docker API is served:
	// containers that bind one get the engine's own socket.
	DockerSockets []string
	// SSHAuthSock is the path of the user's SSH agent: containers that bind it get
	// domain.SSHAgentSocket. Empty is "no agent".
	SSHAuthSock string
	// Paths looks at bind sources.
	Paths port.HostPaths
	// ContainerEnv is added to each container's environment, "NAME=VALUE", but for
	// what the request sets by itself. Nil is nothing.
	ContainerEnv func(context.Context) ([]string, error)
	// CACertificates gives each container the guest's certificate authorities,
	// and names them in the variables that the common libraries read.
	CACertificates bool
}

// Sessions gives the session with the agent of a role's machine, which it boots
// if it must. Engines does.
type Sessions interface {
	Session(ctx context.Context, role domain.Role) (session port.AgentSession, release func(), err error)
}

// Creation decides about containers before their engine hears of them: where
// they run, and what of the host they get.
type Creation struct {
	options  CreationOptions
	rules    domain.BindRules
	sessions Sessions
}

// NewCreation returns a creation that asks sessions for sockets of the host.
func NewCreation(o CreationOptions, sessions Sessions) *Creation {
	sockets := make(map[string]string, len(o.DockerSockets)+1)
	for _, s := range o.DockerSockets {
		sockets[path.Clean(s)] = guestDockerSocket
	}
	if o.SSHAuthSock != "" {
		sockets[path.Clean(o.SSHAuthSock)] = domain.SSHAgentSocket
	}
	return &Creation{options: o, sessions: sessions,
		rules: domain.BindRules{Shares: o.Shares, DataDir: o.DataDir, Sockets: sockets}}
}

// Create judges a POST /containers/create. newBody is nil when the body is to
// pass as it is. What the guest must not have, or does not have, is
// domain.ErrInvalid, with a hint; other errors are those of Route and of a
// machine that does not come up.
func (c *Creation) Create(ctx context.Context, query url.Values, body []byte) (role domain.Role, newBody []byte, err error) {
	role = domain.RoleNative
	if c.options.Route != nil {
		if role, err = c.options.Route(query, body); err != nil {
			return role, nil, err
		}
	}
	b, err := domain.ParseCreateBody(body)
	if err != nil {
		return role, nil, err
	}
	if err := c.settle(ctx, role, b); err != nil {
		return role, nil, err
	}
	env, err := c.environment(ctx, b)
	if err != nil {
		return role, nil, err
	}
	b.AddEnv(env)
	return role, b.Bytes(), nil
}

// Service judges the specification of a swarm's service like Create. Services
// run in the native role, and nothing is added to them.
func (c *Creation) Service(ctx context.Context, body []byte) (newBody []byte, err error) {
	b, err := domain.ParseServiceBody(body)
	if err != nil {
		return nil, err
	}
	if err := c.settle(ctx, domain.RoleNative, b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// settle judges all sources before the guest is asked for anything.
func (c *Creation) settle(ctx context.Context, role domain.Role, b *domain.CreateBody) error {
	sources := b.Sources()
	if len(sources) > maxSources {
		return fmt.Errorf("%d bind sources are more than %d: %w", len(sources), maxSources, domain.ErrInvalid)
	}
	binds := make([]domain.Bind, len(sources))
	for i, s := range sources {
		if !strings.HasPrefix(s, "/") {
			return fmt.Errorf("bind source %q is not absolute: %w", s, domain.ErrInvalid)
		}
		var err error
		if binds[i], err = c.rules.Judge(s, c.options.Paths.Inspect); err != nil {
			return err
		}
	}
	if err := c.offer(ctx, role, binds); err != nil {
		return err
	}
	for i, bind := range binds {
		if err := b.SetSource(i, bind.Source); err != nil {
			return err
		}
	}
	return nil
}

// offer has the guest make the sockets that the binds need.
func (c *Creation) offer(ctx context.Context, role domain.Role, binds []domain.Bind) error {
	offered := map[string]string{}
	var source port.SocketSource
	for i, bind := range binds {
		if !bind.Offer {
			continue
		}
		guest, done := offered[bind.Source]
		if !done {
			if source == nil {
				session, release, err := c.sessions.Session(ctx, role)
				if err != nil {
					return fmt.Errorf("offer the socket %s to the virtual machine: %w", bind.Source, err)
				}
				defer release()
				var ok bool
				if source, ok = session.(port.SocketSource); !ok {
					return fmt.Errorf("the virtual machine cannot have the socket %s of the host: %w", bind.Source, domain.ErrUnsupported)
				}
			}
			var err error
			if guest, err = source.OfferSocket(ctx, bind.Source); err != nil {
				return fmt.Errorf("offer the socket %s to the virtual machine: %w", bind.Source, err)
			}
			if !strings.HasPrefix(guest, "/") || strings.ContainsAny(guest, ":\x00") {
				return fmt.Errorf("the virtual machine offers the socket %s at %q: %w", bind.Source, guest, domain.ErrProtocol)
			}
			offered[bind.Source] = guest
		}
		binds[i].Source = guest
	}
	return nil
}

// environment is what is added to a container's, in the order of precedence,
// and binds the certificates if they are asked for.
func (c *Creation) environment(ctx context.Context, b *domain.CreateBody) (env []string, err error) {
	if c.options.ContainerEnv != nil {
		if env, err = c.options.ContainerEnv(ctx); err != nil {
			return nil, fmt.Errorf("the environment of a new container: %w", err)
		}
	}
	// A container that is made after another one's picture has the bind already.
	if !c.options.CACertificates || b.Targets(containerCertificates) {
		return env, nil
	}
	b.AddBind(guestCertificates + ":" + containerCertificates + ":ro")
	all := append([]string(nil), env...)
	for _, name := range []string{
		"SSL_CERT_FILE",       // OpenSSL, Go, Ruby
		"CURL_CA_BUNDLE",      // curl
		"REQUESTS_CA_BUNDLE",  // Python's requests
		"NODE_EXTRA_CA_CERTS", // Node.js
		"GIT_SSL_CAINFO",      // git
	} {
		all = append(all, name+"="+containerCertificates)
	}
	return all, nil
}
