package containers_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/containers"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// offering is a session whose guest has sockets.
type offering struct {
	*mock.MockAgentSession
	*mock.MockSocketSource
}

// EXPECT belongs to both mocks; nobody expects anything through an offering.
func (offering) EXPECT() {}

type sessions struct {
	session  port.AgentSession
	err      error
	asked    []domain.Role
	released int
}

func (s *sessions) Session(_ context.Context, role domain.Role) (port.AgentSession, func(), error) {
	s.asked = append(s.asked, role)
	if s.err != nil {
		return nil, nil, s.err
	}
	return s.session, func() { s.released++ }, nil
}

type creation struct {
	*containers.Creation
	sockets  *mock.MockSocketSource
	sessions *sessions
}

func newCreation(t *testing.T, change func(*containers.CreationOptions)) creation {
	t.Helper()
	control := gomock.NewController(t)
	paths := mock.NewMockHostPaths(control)
	paths.EXPECT().Inspect(gomock.Any()).AnyTimes().DoAndReturn(func(p string) (domain.HostPath, error) {
		kind := domain.HostPathDirectory
		if len(p) > 5 && p[len(p)-5:] == ".sock" {
			kind = domain.HostPathSocket
		}
		return domain.HostPath{Resolved: p, Kind: kind}, nil
	})
	o := containers.CreationOptions{Shares: []domain.Share{{Path: "/home/me"}}, DataDir: "/home/me/.arcbox", Paths: paths,
		DockerSockets: []string{"/home/me/.arcbox/run/docker.sock", "/tmp//d.sock"}, SSHAuthSock: "/tmp/agent.1"}
	if change != nil {
		change(&o)
	}
	sockets := mock.NewMockSocketSource(control)
	s := &sessions{session: offering{mock.NewMockAgentSession(control), sockets}}
	return creation{containers.NewCreation(o, s), sockets, s}
}

func binds(list ...string) []byte {
	body := `{"Image":"x","HostConfig":{"Binds":[`
	for i, b := range list {
		if i > 0 {
			body += ","
		}
		body += fmt.Sprintf("%q", b)
	}
	return []byte(body + `]}}`)
}

func TestCreationOfContainersWithoutSockets(t *testing.T) {
	c := newCreation(t, nil)
	for in, want := range map[string]string{
		"/home/me/src:/src:ro,z":                   "",
		"volume:/data":                             "",
		"/var/run/docker.sock:/s":                  "",
		"/home/me/.arcbox/run/docker.sock:/s:ro":   "/var/run/docker.sock:/s:ro",
		"/tmp/d.sock:/s":                           "/var/run/docker.sock:/s",
		"/tmp/agent.1:/agent":                      "/run/host-services/ssh-auth.sock:/agent",
		"/home/me/../me/.arcbox/run/docker.sock:/": "/var/run/docker.sock:/",
	} {
		role, body, err := c.Create(t.Context(), nil, binds(in))
		require.NoError(t, err, in)
		require.Equal(t, domain.RoleNative, role)
		if want == "" {
			require.Nil(t, body, in)
		} else {
			require.Equal(t, string(binds(want)), string(body))
		}
	}
	for _, in := range []string{"/srv:/srv", "/home/me/.arcbox:/x"} {
		_, _, err := c.Create(t.Context(), nil, binds("/home/me/a.sock:/a", in))
		require.ErrorIs(t, err, domain.ErrInvalid, "and nothing was offered")
		require.NotEmpty(t, domain.Hint(err))
	}
	_, _, err := c.Create(t.Context(), nil, []byte(`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"\\home\\me"}]}}`))
	require.ErrorContains(t, err, "is not absolute")
	_, _, err = c.Create(t.Context(), nil, []byte(`{"HostConfig":{},"hostconfig":{}}`))
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, _, err = c.Create(t.Context(), nil, binds(make([]string, 2000)...))
	require.NoError(t, err, "these are no binds")
	many := make([]string, 1025)
	for i := range many {
		many[i] = "/home/me/x:/x"
	}
	_, _, err = c.Create(t.Context(), nil, binds(many...))
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Empty(t, c.sessions.asked)
}

func TestCreationOffersSockets(t *testing.T) {
	c := newCreation(t, func(o *containers.CreationOptions) {
		o.Route = func(q url.Values, _ []byte) (domain.Role, error) { return domain.Role(q.Get("platform")), nil }
	})
	c.sockets.EXPECT().OfferSocket(gomock.Any(), "/home/me/a.sock").Return("/run/arcbox/sockets/1", nil)
	c.sockets.EXPECT().OfferSocket(gomock.Any(), "/home/me/b.sock").Return("/run/arcbox/sockets/2", nil)
	role, body, err := c.Create(t.Context(), url.Values{"platform": {"rosetta"}}, binds("/home/me/a.sock:/a:ro", "/home/me:/b", "/home/me/b.sock:/b", "/home/me/./a.sock:/c"))
	require.NoError(t, err)
	require.Equal(t, domain.RoleRosetta, role)
	require.Equal(t, string(binds("/run/arcbox/sockets/1:/a:ro", "/home/me:/b", "/run/arcbox/sockets/2:/b", "/run/arcbox/sockets/1:/c")), string(body))
	require.Equal(t, []domain.Role{domain.RoleRosetta}, c.sessions.asked)
	require.Equal(t, 1, c.sessions.released)

	c.sockets.EXPECT().OfferSocket(gomock.Any(), gomock.Any()).Return("", domain.ErrAgentLost)
	_, _, err = c.Create(t.Context(), nil, binds("/home/me/a.sock:/a"))
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.ErrorContains(t, err, "/home/me/a.sock")
	for _, bad := range []string{"", "relative", "/a:b"} {
		c.sockets.EXPECT().OfferSocket(gomock.Any(), gomock.Any()).Return(bad, nil)
		_, _, err = c.Create(t.Context(), nil, binds("/home/me/a.sock:/a"))
		require.ErrorIs(t, err, domain.ErrProtocol, "the guest is not trusted")
	}
	require.Equal(t, 5, c.sessions.released)

	c.sessions.session = mock.NewMockAgentSession(gomock.NewController(t))
	_, _, err = c.Create(t.Context(), nil, binds("/home/me/a.sock:/a"))
	require.ErrorIs(t, err, domain.ErrUnsupported)
	c.sessions.err = domain.ErrNotRunning
	_, _, err = c.Create(t.Context(), nil, binds("/home/me/a.sock:/a"))
	require.ErrorIs(t, err, domain.ErrNotRunning)
}

func TestCreationAsksTheRouteFirst(t *testing.T) {
	c := newCreation(t, func(o *containers.CreationOptions) {
		o.Route = func(_ url.Values, body []byte) (domain.Role, error) { return "", errors.New(string(body)) }
	})
	_, _, err := c.Create(t.Context(), nil, binds("/srv:/srv"))
	require.EqualError(t, err, string(binds("/srv:/srv")))
}

func TestCreationAddsTheEnvironment(t *testing.T) {
	c := newCreation(t, func(o *containers.CreationOptions) {
		o.ContainerEnv = env("HTTP_PROXY=http://p", "http_proxy=http://p", "NO_PROXY=x")
	})
	_, body, err := c.Create(t.Context(), nil, []byte(`{"Env":["no_proxy=mine"]}`))
	require.NoError(t, err)
	require.Equal(t, `{"Env":["no_proxy=mine","HTTP_PROXY=http://p","http_proxy=http://p"]}`, string(body))
}

func TestCreationAddsTheCertificates(t *testing.T) {
	c := newCreation(t, func(o *containers.CreationOptions) {
		o.CACertificates, o.ContainerEnv = true, env("CURL_CA_BUNDLE=/first", "A=1")
	})
	const file = "/run/arcbox/ca-certificates.crt"
	_, body, err := c.Create(t.Context(), nil, []byte(`{"Env":["SSL_CERT_FILE=/mine"],"HostConfig":{"Binds":["v:/v"]}}`))
	require.NoError(t, err)
	want := `{"Env":["SSL_CERT_FILE=/mine","CURL_CA_BUNDLE=/first","A=1","REQUESTS_CA_BUNDLE=` + file + `","NODE_EXTRA_CA_CERTS=` + file +
		`","GIT_SSL_CAINFO=` + file + `"],"HostConfig":{"Binds":["v:/v","/etc/ssl/certs/ca-certificates.crt:` + file + `:ro"]}}`
	require.Equal(t, want, string(body))

	role, again, err := c.Create(t.Context(), nil, body)
	require.NoError(t, err, "the guest's bundle may be bound")
	require.Nil(t, again, "nothing is added twice")
	require.Equal(t, domain.RoleNative, role)

	_, body, err = c.Create(t.Context(), nil, []byte(`nonsense`))
	require.NoError(t, err)
	require.Nil(t, body, "dockerd refuses it")
}

func TestServicesAreJudged(t *testing.T) {
	c := newCreation(t, func(o *containers.CreationOptions) { o.CACertificates = true })
	service := func(source string) []byte {
		return fmt.Appendf(nil, `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":%q,"Target":"/x"}]}}}`, source)
	}
	body, err := c.Service(t.Context(), service("/home/me"))
	require.NoError(t, err)
	require.Nil(t, body)
	body, err = c.Service(t.Context(), service("/tmp/d.sock"))
	require.NoError(t, err)
	require.Equal(t, string(service("/var/run/docker.sock")), string(body))
	_, err = c.Service(t.Context(), service("/srv"))
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestSessionOfARole(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		type answer struct {
			session port.AgentSession
			release func()
			err     error
		}
		got := make(chan answer, 1)
		go func() {
			s, release, err := w.engines.Session(t.Context(), domain.RoleNative)
			got <- answer{s, release, err}
		}()
		waiter := w.ensure(t.Context())
		w.rig.Guest().Push(ready())
		require.NoError(t, (<-waiter).err)
		a := <-got
		require.NoError(t, a.err)
		require.True(t, w.vm.Snapshot().Instance.Session() == a.session)
		a.release()
		_, _, err := w.engines.Session(t.Context(), domain.RoleRosetta)
		require.ErrorIs(t, err, domain.ErrUnsupported)
	})
}

func env(vars ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return vars, nil }
}
