package bootstrap

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestTheProxyIsConfigured(t *testing.T) {
	f := writeConfig(t, "[proxy]\nhttp = \"http://user:SECRET@proxy:3128\"\nno_proxy = \"localhost,.corp\"\n")
	c, err := LoadConfig([]string{f}, []string{"ARCBOX_PROXY__HTTPS=proxy:3129"}, map[string]any{"proxy.mode": "none"})
	require.NoError(t, err)
	require.Equal(t, string(domain.ProxyNone), c.Proxy.Mode)
	require.Equal(t, domain.Proxy{HTTP: "http://user:SECRET@proxy:3128", HTTPS: "proxy:3129", None: "localhost,.corp"}, c.Proxy.proxy())
	for _, format := range []string{"%v", "%+v", "%#v"} {
		require.NotContains(t, fmt.Sprintf(format, c), "SECRET")
	}
	c, err = LoadConfig(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, string(domain.ProxyAuto), c.Proxy.Mode)
	require.False(t, c.Proxy.proxy().Set())
}

func TestProxyErrorsNameTheKeyAndHideTheValue(t *testing.T) {
	for key, value := range map[string]any{
		"proxy.mode": "manual", "proxy.http": "ftp://user:SECRET@proxy", "proxy.https": "http://user:SEC/RET@proxy", "proxy.no_proxy": "a\nb",
	} {
		_, err := LoadConfig(nil, nil, map[string]any{key: value})
		require.ErrorIs(t, err, domain.ErrInvalid, key)
		require.ErrorContains(t, err, "configuration key "+key)
		require.NotContains(t, err.Error(), "SEC")
	}
	for _, text := range []string{
		"[proxy]\nhttp = [\"http://user:SECRET@proxy\"]\n", "[proxy]\nhttp = \"http://user:SECRET@proxy\n", "[proxy]\nhttp = http://user:SECRET@proxy\n",
		"[proxy]\nhttp = {url = \"http://user:SECRET@proxy\"}\n",
	} {
		_, err := LoadConfig([]string{writeConfig(t, text)}, nil, nil)
		require.ErrorIs(t, err, domain.ErrInvalid, text)
		require.NotContains(t, err.Error(), "SECRET")
	}
}
