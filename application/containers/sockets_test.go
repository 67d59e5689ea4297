package containers

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// socketHost is a host's file system: paths to what they lead to.
type socketHost map[string]domain.HostPath

func (h socketHost) Inspect(p string) (domain.HostPath, error) {
	found, ok := h[p]
	switch {
	case !ok:
		return domain.HostPath{Resolved: p, Kind: domain.HostPathMissing}, nil
	case found.Kind == "":
		return found, errors.New(p + " cannot be followed")
	}
	return found, nil
}

func at(p string, k domain.HostPathKind) domain.HostPath {
	return domain.HostPath{Resolved: p, Kind: k}
}

var sockets = socketHost{
	"/home":            at("/home", domain.HostPathDirectory),
	"/home/ro":         at("/home/ro", domain.HostPathDirectory),
	"/link":            at("/data/work", domain.HostPathDirectory),
	"/home/.arcbox":    at("/home/.arcbox", domain.HostPathDirectory),
	"/home/a":          at("/home/a", domain.HostPathSocket),
	"/home/dir":        at("/home/dir", domain.HostPathDirectory),
	"/home/file":       at("/home/file", domain.HostPathFile),
	"/home/loop":       {},
	"/home/out":        at("/run/user/1000/bus", domain.HostPathSocket),
	"/home/in":         at("/home/a", domain.HostPathSocket),
	"/home/toro":       at("/home/ro/s", domain.HostPathSocket),
	"/home/ro/s":       at("/home/ro/s", domain.HostPathSocket),
	"/home/own":        at("/home/.arcbox/run/docker.sock", domain.HostPathSocket),
	"/home/.arcbox/s":  at("/home/.arcbox/s", domain.HostPathSocket),
	"/link/s":          at("/data/work/s", domain.HostPathSocket),
	"/data/work/s":     at("/data/work/s", domain.HostPathSocket),
	"/elsewhere/in":    at("/home/a", domain.HostPathSocket),
	"/run/docker.sock": at("/run/docker.sock", domain.HostPathSocket),
}

var socketRules = domain.BindRules{DataDir: "/home/.arcbox",
	Shares: []domain.Share{{Path: "/home"}, {Path: "/home/ro", ReadOnly: true}, {Path: "/link"}}}

func TestSocketsThatAGuestMayReach(t *testing.T) {
	for path, want := range map[string]string{
		"/home/a":             "/home/a",
		"/home/in":            "/home/a",
		"/link/s":             "/data/work/s",
		"/home/missing":       "",
		"/home/dir":           "",
		"/home/file":          "",
		"/home/loop":          "",
		"/home/out":           "",
		"/home/toro":          "",
		"/home/ro/s":          "",
		"/home/own":           "",
		"/home/.arcbox/s":     "",
		"/data/work/s":        "", // not where the guest has it
		"/elsewhere/in":       "",
		"/homework/a":         "",
		"/run/docker.sock":    "",
		domain.SSHAgentSocket: "",
		"/":                   "",
	} {
		got, err := allowedSocket(socketRules, path, sockets.Inspect)
		if want == "" {
			require.ErrorIs(t, err, domain.ErrPermission, path)
			require.Empty(t, got, path)
			continue
		}
		require.NoError(t, err, path)
		require.Equal(t, want, got)
	}
}

func TestNothingOutsideOfTheSharesIsLookedAt(t *testing.T) {
	for _, p := range []string{"/etc/passwd", "/", "/homework", "/hom", "/elsewhere/in"} {
		_, err := allowedSocket(socketRules, p, func(string) (domain.HostPath, error) {
			t.Errorf("%s was looked at", p)
			return domain.HostPath{}, nil
		})
		require.ErrorIs(t, err, domain.ErrPermission)
	}
}

func FuzzAllowedSocket(f *testing.F) {
	for p, found := range sockets {
		f.Add(p, found.Resolved)
	}
	f.Fuzz(func(t *testing.T, p, leads string) {
		host := socketHost{p: at(leads, domain.HostPathSocket)}
		for _, s := range socketRules.Shares {
			host[s.Path] = sockets[s.Path]
		}
		got, err := allowedSocket(socketRules, p, host.Inspect)
		if err != nil {
			return
		}
		require.True(t, domain.Within(got, "/home") || domain.Within(got, "/data/work"), got)
		require.False(t, domain.Within(got, "/home/ro"))
		require.False(t, domain.Within(got, "/home/.arcbox"))
	})
}

// dials remembers what is connected to.
type dials struct {
	to  []string
	err error
}

func (d *dials) Dial(_ context.Context, p string) (port.Stream, error) {
	d.to = append(d.to, "follow "+p)
	return nil, d.err
}

func (d *dials) DialExact(_ context.Context, p string) (port.Stream, error) {
	d.to = append(d.to, "exact "+p)
	return nil, d.err
}

func handler(agent string) (*Sockets, *dials, *strings.Builder) {
	d, out := &dials{}, &strings.Builder{}
	return NewSockets(SocketOptions{Shares: socketRules.Shares, DataDir: socketRules.DataDir, SSHAgent: agent, Paths: sockets},
		d, slog.New(slog.NewTextHandler(out, nil))), d, out
}

func TestServicesAndPaths(t *testing.T) {
	s, d, out := handler("/tmp/agent")
	_, err := s.DialService(t.Context(), domain.SSHAgentService)
	require.NoError(t, err)
	_, err = s.DialPath(t.Context(), "/home/in")
	require.NoError(t, err)
	require.Equal(t, []string{"follow /tmp/agent", "exact /home/a"}, d.to, "what the guest can change is not followed")
	require.Empty(t, out.String())

	d.to, d.err = nil, io.ErrClosedPipe
	_, err = s.DialService(t.Context(), domain.SSHAgentService)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Contains(t, domain.Hint(err), "docker.ssh_agent")
	_, err = s.DialPath(t.Context(), "/home/a")
	require.ErrorIs(t, err, io.ErrClosedPipe)
	d.to = nil
	_, err = s.DialService(t.Context(), "gpg-agent")
	require.ErrorIs(t, err, domain.ErrNotFound)
	_, err = s.DialPath(t.Context(), "/home/out")
	require.ErrorIs(t, err, domain.ErrPermission)
	require.Empty(t, d.to)
}

func TestAHostWithoutAnSSHAgentSaysWhatToSet(t *testing.T) {
	s, d, out := handler("")
	_, err := s.DialService(t.Context(), domain.SSHAgentService)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.Empty(t, d.to)
	require.Contains(t, domain.Hint(err), "SSH_AUTH_SOCK")
	require.Contains(t, out.String(), "docker.ssh_agent")
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, out := handler("")
		for range 1000 {
			_, err := s.DialPath(t.Context(), "/etc/shadow")
			require.Error(t, err)
		}
		require.Equal(t, 1, strings.Count(out.String(), "\n"))
		time.Sleep(complaintPause)
		_, err := s.DialPath(t.Context(), "/etc/shadow")
		require.Error(t, err)
		require.Equal(t, 2, strings.Count(out.String(), "\n"))
		require.Contains(t, out.String(), "others_before=999")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(complaintPause)
		_, err = s.DialPath(ended, "/etc/shadow")
		require.Error(t, err)
		require.Equal(t, 2, strings.Count(out.String(), "\n"), "the end of a machine is no news")
	})
}

// socketSession is a session whose agent has sockets.
type socketSession struct {
	*mock.MockAgentSession
	*mock.MockSocketSource
}

func TestARunOfAMachineIsServed(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		over   bool
		logged bool
	}{
		"to the end of the session": {err: domain.ErrAgentLost, over: true},
		"until it cannot be":        {err: domain.ErrProtocol, logged: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, out := handler("")
			ctrl := gomock.NewController(t)
			defer ctrl.Finish()
			session := socketSession{mock.NewMockAgentSession(ctrl), mock.NewMockSocketSource(ctrl)}
			done := make(chan struct{})
			if c.over {
				close(done)
			}
			session.MockSocketSource.EXPECT().Sockets(gomock.Any(), s).Return(c.err)
			session.MockAgentSession.EXPECT().Done().Return((<-chan struct{})(done))
			s.Run(t.Context(), session)
			require.Equal(t, c.logged, strings.Contains(out.String(), c.err.Error()))
			s.Run(t.Context(), session.MockAgentSession) // of an agent that has none
		})
	}
}
