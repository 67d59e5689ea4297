package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestDockerdUsesTheHostsProxies(t *testing.T) {
	proxies := func(p domain.Proxy) (env []string) {
		for _, e := range DockerdCommand(p).Env {
			if strings.Contains(strings.ToLower(e), "_proxy=") {
				env = append(env, e)
			}
		}
		return env
	}
	const always = "localhost,127.0.0.1,::1,172.16.0.0/12,host.docker.internal,gateway.docker.internal"
	for name, c := range map[string]struct {
		proxy domain.Proxy
		want  []string
	}{
		"none": {domain.Proxy{}, nil},
		"exceptions alone are not to be extended": {domain.Proxy{None: "corp"}, []string{"NO_PROXY=corp", "no_proxy=corp"}},
		"both": {domain.Proxy{HTTP: "http://p:1", HTTPS: "http://p:2"}, []string{
			"HTTPS_PROXY=http://p:2", "HTTP_PROXY=http://p:1", "NO_PROXY=" + always,
			"http_proxy=http://p:1", "https_proxy=http://p:2", "no_proxy=" + always}},
		"exceptions are kept, each once": {domain.Proxy{HTTPS: "p:2", None: " .corp, Localhost,,10.0.0.0/8 "}, []string{
			"HTTPS_PROXY=p:2", "NO_PROXY=.corp,Localhost,10.0.0.0/8," + strings.TrimPrefix(always, "localhost,"),
			"https_proxy=p:2", "no_proxy=.corp,Localhost,10.0.0.0/8," + strings.TrimPrefix(always, "localhost,")}},
		"everything is an exception": {domain.Proxy{HTTPS: "p:2", None: "a,*"}, []string{
			"HTTPS_PROXY=p:2", "NO_PROXY=a,*", "https_proxy=p:2", "no_proxy=a,*"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, proxies(c.proxy)) })
	}
	for _, e := range ContainerdCommand().Env {
		require.NotContains(t, strings.ToLower(e), "_proxy")
	}
}

// The host's home and /tmp can be mounted over the guest's.
func TestTheEngineKeepsNothingInDirectoriesOfTheHost(t *testing.T) {
	for _, e := range append(ContainerdCommand().Env, DockerdCommand(domain.Proxy{}).Env...) {
		if name, value, _ := strings.Cut(e, "="); name == "HOME" || name == "TMPDIR" {
			require.True(t, domain.Within(value, "/run/arcbox"), e)
		}
	}
}
