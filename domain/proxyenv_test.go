package domain

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProxyFromEnv(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want Proxy
	}{
		"nothing":         {nil, Proxy{}},
		"upper case":      {map[string]string{"HTTP_PROXY": "a:1", "HTTPS_PROXY": "b:2", "NO_PROXY": "c"}, Proxy{"a:1", "b:2", "c"}},
		"lower case":      {map[string]string{"http_proxy": "a:1", "https_proxy": "b:2", "no_proxy": "c"}, Proxy{"a:1", "b:2", "c"}},
		"both":            {map[string]string{"HTTP_PROXY": "up:1", "http_proxy": "low:1", "NO_PROXY": "up", "no_proxy": "low"}, Proxy{HTTP: "up:1", None: "up"}},
		"empty upper":     {map[string]string{"HTTP_PROXY": "", "http_proxy": "low:1"}, Proxy{HTTP: "low:1"}},
		"blanks around":   {map[string]string{"HTTP_PROXY": " a:1 ", "HTTPS_PROXY": "  "}, Proxy{HTTP: "a:1"}},
		"all":             {map[string]string{"ALL_PROXY": "socks5://s:1080"}, Proxy{HTTP: "socks5://s:1080", HTTPS: "socks5://s:1080"}},
		"all fills gaps":  {map[string]string{"all_proxy": "http://s:1", "HTTPS_PROXY": "b:2"}, Proxy{HTTP: "http://s:1", HTTPS: "b:2"}},
		"all is unusable": {map[string]string{"ALL_PROXY": "socks4://s:1080"}, Proxy{}},
		"another's":       {map[string]string{"FTP_PROXY": "f:1"}, Proxy{}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, ProxyFromEnv(func(n string) string { return c.env[n] }))
		})
	}
}

func TestProxyCheck(t *testing.T) {
	for _, good := range []string{
		"", "http://proxy:3128", "http://proxy", "http://proxy/", "HTTP://proxy:3128", "https://proxy:443", "socks5://10.0.0.1:1080",
		"socks5h://proxy:1080", "proxy:3128", "proxy", "10.1.2.3:8080", "localhost:3128", "[::1]:3128", "http://[fd00::1]:3128",
		"http://user:pa%23ss@proxy:3128", "user:pass@proxy:3128", "http://token@proxy:3128", "http://user:pass:word@proxy:1",
	} {
		require.NoError(t, Proxy{HTTP: good, HTTPS: good}.Check(), good)
	}
	for _, bad := range []string{
		"http://", "://", "ftp://proxy:21", "socks4://proxy:1080", "http://proxy:0", "http://proxy:65536", "http://proxy:http",
		"http://user:SECRET@", "http://user:SEC/RET@proxy:3128", "http://user:12/SECRET@proxy:3128", "http://user:12?SECRET@proxy:3128",
		"http://user:12#SECRET@proxy:3128", "http://user:%zzSECRET@proxy", "http://user:SECRET%@proxy", "http://proxy:3128\nX=SECRET",
		"http://pro xy:3128", "http://user:SECRET@pro\x00xy", "http://proxy\u2028:1", "http://\xff:1", "//proxy:3128", ":3128",
		"file:///etc/passwd", "http://" + strings.Repeat("a", 4096),
	} {
		err := Proxy{HTTPS: bad}.Check()
		require.ErrorIs(t, err, ErrInvalid, bad)
		require.ErrorContains(t, err, "proxy for https")
		require.NotContains(t, err.Error(), "SECRET")
		require.NotContains(t, err.Error(), "zz")
	}
	err := Proxy{HTTP: "http://:1", HTTPS: "ftp://x"}.Check()
	require.ErrorContains(t, err, "proxy for http:")
	require.ErrorContains(t, err, "proxy for https:")

	require.NoError(t, Proxy{None: "localhost, 127.0.0.0/8,.corp,münchen.example"}.Check())
	for _, bad := range []string{"a\nb", "a\x00b", "\xff", strings.Repeat("a,", 1<<16)} {
		require.ErrorIs(t, Proxy{None: bad}.Check(), ErrInvalid)
	}
}

func TestProxyForGuest(t *testing.T) {
	for in, want := range map[string]string{
		"http://localhost:3128":             "http://host.docker.internal:3128",
		"http://LocalHost.:3128":            "http://host.docker.internal:3128",
		"http://px.localhost:3128":          "http://host.docker.internal:3128",
		"http://ip6-localhost:1/":           "http://host.docker.internal:1/",
		"127.0.0.1:3128":                    "http://host.docker.internal:3128",
		"socks5h://127.8.9.1:1080":          "socks5h://host.docker.internal:1080",
		"http://[::1]:3128":                 "http://host.docker.internal:3128",
		"http://[::ffff:127.0.0.1]:3128":    "http://host.docker.internal:3128",
		"http://0.0.0.0:3128":               "http://host.docker.internal:3128",
		"http://localhost":                  "http://host.docker.internal",
		"http://us%40er:pa%23s@localhost:1": "http://us%40er:pa%23s@host.docker.internal:1",
		"user:pass@localhost:1":             "http://user:pass@host.docker.internal:1",
		"http://192.168.1.7:3128":           "http://192.168.1.7:3128",
		"proxy.corp:3128":                   "proxy.corp:3128",
		"http://localhost.corp:3128":        "http://localhost.corp:3128",
		"http://notlocalhost:3128":          "http://notlocalhost:3128",
		"http://128.0.0.1:3128":             "http://128.0.0.1:3128",
		"http://localhost:99999":            "http://localhost:99999", // for Check to refuse
		"":                                  "",
	} {
		got := Proxy{HTTP: in, HTTPS: in}.ForGuest("")
		require.Equal(t, want, got.HTTP, in)
		require.Equal(t, want, got.HTTPS, in)
	}
}

func TestTheGuestReachesTheHostWithoutAProxy(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "host.docker.internal,10.0.2.1",
		"localhost,127.0.0.1,::1":       "localhost,127.0.0.1,::1,host.docker.internal,10.0.2.1",
		"a, b, ":                        "a, b,host.docker.internal,10.0.2.1",
		"10.0.2.1,Host.Docker.Internal": "10.0.2.1,Host.Docker.Internal",
		"x, *":                          "x, *",
		"a.host.docker.internal":        "a.host.docker.internal,host.docker.internal,10.0.2.1",
	} {
		require.Equal(t, want, Proxy{HTTP: "p:1", None: in}.ForGuest("10.0.2.1").None, in)
	}
	require.Equal(t, Proxy{None: "a"}, Proxy{None: "a"}.ForGuest("10.0.2.1"), "no proxy, nothing to except")
}

func TestProxyEnv(t *testing.T) {
	require.Empty(t, ProxyEnv(Proxy{}))
	require.Equal(t, []string{
		"HTTPS_PROXY=http://s:2", "HTTP_PROXY=http://u:p@h:1", "NO_PROXY=a,b", "http_proxy=http://u:p@h:1", "https_proxy=http://s:2", "no_proxy=a,b",
	}, ProxyEnv(Proxy{HTTP: "http://u:p@h:1", HTTPS: "http://s:2", None: "a,b"}))
}

func TestProxyOr(t *testing.T) {
	require.Equal(t, Proxy{"a", "y", "c"}, Proxy{HTTP: "a", None: "c"}.Or(Proxy{"x", "y", "z"}))
}

func TestAProxyIsPrintedWithoutItsUser(t *testing.T) {
	p := Proxy{HTTP: "http://user:SECRET@proxy:3128/SECRET?SECRET", HTTPS: "http://user:SEC/RET@proxy", None: ".corp"}
	require.Equal(t, "http=http://xxxxx@proxy:3128 https=(not a proxy) none=.corp", p.String())
	config := GuestConfig{Proxy: p}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%v %+v %#v", config, config, config), fmt.Sprintf("%+v", &p), string(text)} {
		require.Contains(t, shown, "xxxxx@proxy:3128")
		require.NotContains(t, shown, "SEC")
		require.NotContains(t, shown, "user")
	}
}

func FuzzProxy(f *testing.F) {
	f.Add("http://us%40er:pa%23s@localhost:1", "a, *", "10.0.2.1")
	f.Add("u:p@127.0.0.1:3128", "localhost", "")
	f.Add("http://user:12#x@[::1]:3128", ",,", "10.0.2.1")
	f.Add("socks5h://px.localhost", "", "fd0a:bc::1")
	f.Fuzz(func(t *testing.T, u, none, gateway string) {
		if _, err := netip.ParseAddr(gateway); err != nil {
			gateway = ""
		}
		p := Proxy{HTTP: u, None: none}
		good := p.Check() == nil
		g := p.ForGuest(gateway)
		require.Equal(t, g, g.ForGuest(gateway), "a second time changes nothing")
		if !good || u == "" {
			return
		}
		if len(u)+len(none) < maxProxyURL-100 {
			require.NoError(t, g.Check())
		}
		before, err := parseProxyURL(u)
		require.NoError(t, err)
		after, err := parseProxyURL(g.HTTP)
		require.NoError(t, err)
		require.Equal(t, before.Port(), after.Port())
		require.Equal(t, before.Scheme, after.Scheme)
		require.Equal(t, before.User.Username(), after.User.Username())
		password, set := before.User.Password()
		passed, still := after.User.Password()
		require.Equal(t, [2]any{password, set}, [2]any{passed, still})
		require.False(t, isLoopback(after.Hostname()))
		if before.User != nil && len(password) > 8 && !strings.Contains(before.Host, password) {
			require.NotContains(t, Proxy{HTTP: u}.String(), password)
		}
		shown, err := url.Parse(redactedProxy(u))
		require.NoError(t, err)
		require.Equal(t, before.Host, shown.Host)
		for _, e := range ProxyEnv(g) {
			require.NotContains(t, e, "\n")
		}
		require.True(t, slices.IsSorted(ProxyEnv(g)))
	})
}
