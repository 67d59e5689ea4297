package hostconfig

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write makes a file and its directories and returns its path.
func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

func source(t *testing.T, o Options, h host) (*Source, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	o.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := newSource(o, h)
	require.NoError(t, err)
	return s, log
}

func config(t *testing.T, s *Source) domain.GuestConfig {
	t.Helper()
	c, err := s.GuestConfig(t.Context())
	require.NoError(t, err)
	return c
}

func TestAHostWithNothingSaysNothing(t *testing.T) {
	dir := t.TempDir()
	s, log := source(t, Options{}, host{environment: dir + "/no", localtime: dir + "/no", certFiles: []string{dir + "/no"}, certDirs: []string{dir + "/none"}})
	require.Equal(t, domain.GuestConfig{}, config(t, s))
	require.Empty(t, log.String())
}

func TestThisHostIsRead(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Shares: []domain.Share{{Path: dir}}, SSHAgent: true, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	c := config(t, s)
	require.Equal(t, []domain.Share{{Path: dir}}, c.Shares)
	require.Equal(t, []domain.GuestSocket{{Service: domain.SSHAgentService, Path: domain.SSHAgentSocket}}, c.Sockets)
	require.LessOrEqual(t, len(c.Certificates), maxBundle)
}

func TestSharesAreDirectoriesWhenTheyAreUsed(t *testing.T) {
	dir := t.TempDir()
	share := filepath.Join(dir, "my files")
	s, _ := source(t, Options{Shares: []domain.Share{{Path: dir}, {Path: share, ReadOnly: true}}}, host{})

	_, err := s.GuestConfig(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "vm.mounts")
	require.ErrorContains(t, err, share)
	require.Contains(t, domain.Hint(err), share)

	write(t, share, nil)
	_, err = s.GuestConfig(t.Context())
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "is no directory")

	require.NoError(t, os.Remove(share))
	require.NoError(t, os.Mkdir(share, 0o700))
	c := config(t, s)
	require.Equal(t, []domain.Share{{Path: dir}, {Path: share, ReadOnly: true}}, c.Shares)
	c.Shares[0].Path = "/changed"
	require.Equal(t, dir, config(t, s).Shares[0].Path, "the caller owns what it gets")
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{
		"mode":           {ProxyMode: "manual"},
		"proxy":          {Proxy: domain.Proxy{HTTP: "ftp://user:SECRET@proxy"}},
		"relative share": {Shares: []domain.Share{{Path: "src"}}},
		"unclean share":  {Shares: []domain.Share{{Path: "/src/../etc"}}},
	} {
		_, err := New(o)
		require.ErrorIs(t, err, domain.ErrInvalid, name)
		require.NotContains(t, err.Error(), "SECRET")
	}
}

func TestACanceledReadIsAnErrorAndNoNews(t *testing.T) {
	dir := t.TempDir()
	bundle := write(t, dir+"/ca.crt", certificate(t, "one").pem)
	s, log := source(t, Options{}, host{certFiles: []string{bundle}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.GuestConfig(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, log.String())
	require.NotEmpty(t, config(t, s).Certificates, "what was canceled is not remembered")
}

func TestProblemsAreLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	zone := write(t, dir+"/localtime", []byte("no zone"))
	s, log := source(t, Options{}, host{localtime: zone})
	lines := func() int { return strings.Count(log.String(), "\n") }
	for range 3 {
		require.Empty(t, config(t, s).TimeZone)
	}
	require.Equal(t, 1, lines())
	require.Contains(t, log.String(), zone)
	require.NoError(t, os.Remove(zone))
	config(t, s)
	write(t, zone, []byte("no zone"))
	config(t, s)
	require.Equal(t, 2, lines(), "what was right in between is news")
}

func TestProxies(t *testing.T) {
	const file = "http_proxy=file:1\nno_proxy=file.example\n"
	for name, c := range map[string]struct {
		mode       domain.ProxyMode
		configured domain.Proxy
		environ    []string
		file       string
		want       domain.Proxy
		log        string
	}{
		"nothing":                 {},
		"configured":              {configured: domain.Proxy{HTTP: "cfg:1"}, want: domain.Proxy{HTTP: "cfg:1"}},
		"environment":             {environ: []string{"HTTPS_PROXY=env:1", "no_proxy=x"}, want: domain.Proxy{HTTPS: "env:1", None: "x"}},
		"per field":               {configured: domain.Proxy{HTTP: "cfg:1"}, environ: []string{"HTTP_PROXY=env:1", "HTTPS_PROXY=env:2"}, want: domain.Proxy{HTTP: "cfg:1", HTTPS: "env:2"}},
		"file":                    {file: file, want: domain.Proxy{HTTP: "file:1", None: "file.example"}},
		"file behind exceptions":  {environ: []string{"NO_PROXY=env.example"}, file: file, want: domain.Proxy{HTTP: "file:1", None: "env.example"}},
		"environment before file": {environ: []string{"HTTPS_PROXY=env:1"}, file: file, want: domain.Proxy{HTTPS: "env:1"}},
		"exceptions alone":        {configured: domain.Proxy{None: "x"}, environ: []string{"NO_PROXY=y"}},
		"mode none":               {mode: domain.ProxyNone, configured: domain.Proxy{HTTP: "cfg:1"}, environ: []string{"HTTP_PROXY=env:1"}, file: file},
		"loopback":                {environ: []string{"HTTP_PROXY=http://user:SECRET@127.0.0.1:3128"}, want: domain.Proxy{HTTP: "http://user:SECRET@host.docker.internal:3128"}},
		"first entry counts":      {environ: []string{"HTTP_PROXY=first:1", "HTTP_PROXY=second:1"}, want: domain.Proxy{HTTP: "first:1"}},
		"bad field": {environ: []string{"HTTP_PROXY=http://user:SEC/RET@env:1", "HTTPS_PROXY=env:2"}, want: domain.Proxy{HTTPS: "env:2"},
			log: "proxy of the environment, http"},
		"bad file":  {file: "HTTP_PROXY=ftp://user:SECRET@x\n", log: "proxy of the settings, http"},
		"long file": {file: "HTTP_PROXY=" + strings.Repeat("x", maxEnvironment), log: "proxy settings"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host{environment: filepath.Join(t.TempDir(), "environment")}
			if c.file != "" {
				write(t, h.environment, []byte(c.file))
			}
			s, log := source(t, Options{ProxyMode: c.mode, Proxy: c.configured, Environ: c.environ, Gateway: netip.MustParseAddr("10.0.2.1")}, h)
			want := c.want
			if want.Set() {
				want.None = strings.TrimPrefix(want.None+",host.docker.internal,10.0.2.1", ",")
			}
			got := config(t, s).Proxy
			require.True(t, want == got, "want %v, got %v", domain.ProxyEnv(want), domain.ProxyEnv(got))
			if c.log == "" {
				require.Empty(t, log.String())
			} else {
				require.Contains(t, log.String(), c.log)
				require.NotContains(t, log.String(), "SEC")
			}
		})
	}
}

// Whoever logs a configuration, by whatever handler, does not log a password.
func TestAPasswordDoesNotReachTheLog(t *testing.T) {
	s, log := source(t, Options{Environ: []string{"HTTP_PROXY=http://user:SECRET@127.0.0.1:3128", "HTTPS_PROXY=http://user:SECRET@%zz"}}, host{})
	c := config(t, s)
	require.Contains(t, c.Proxy.HTTP, "SECRET", "the guest needs it")
	text := slog.New(slog.NewTextHandler(log, nil))
	for _, l := range []*slog.Logger{s.options.Log, text} {
		l.Info("configured", "proxy", c.Proxy, "config", c, "pointer", &c.Proxy)
	}
	require.Contains(t, log.String(), "xxxxx@host.docker.internal:3128")
	require.NotContains(t, log.String(), "SECRET")
}

func TestTheSettingsOfTheSystemCountLast(t *testing.T) {
	h := host{proxy: func(context.Context) (domain.Proxy, error) {
		return domain.Proxy{HTTP: "system:1", None: "system.example"}, errAutomaticProxy
	}}
	s, log := source(t, Options{Environ: []string{"NO_PROXY=env.example"}}, h)
	require.Equal(t, "system:1", config(t, s).Proxy.HTTP)
	require.Equal(t, "env.example,host.docker.internal", config(t, s).Proxy.None)
	require.Equal(t, 1, strings.Count(log.String(), errAutomaticProxy.Error()))
}
