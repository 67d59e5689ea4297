package hostconfig

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestParseEnvironment(t *testing.T) {
	require.Equal(t, map[string]string{
		"PATH": "/bin:/usr/bin", "HTTP_PROXY": "http://proxy:3128", "https_proxy": "http://proxy:3129", "NO_PROXY": "a, b",
		"EXPORTED": "1", "exportX": "2", "EMPTY": "", "HALF": "x", "TWICE": "2", "EQ": "a=b", "QUOTE": "",
	}, parseEnvironment(`# the usual
PATH="/bin:/usr/bin"
HTTP_PROXY=http://proxy:3128 # ours
  https_proxy='http://proxy:3129'
NO_PROXY="a, b"
export EXPORTED=1
exportX=2
EMPTY=
HALF="x
QUOTE="
TWICE=1
TWICE=2
EQ=a=b
not a line
=nothing
two words=x
`))
}

func FuzzParseEnvironment(f *testing.F) {
	f.Add("export A=\"b\"\nC='d' # e\n")
	f.Add("=\n'=\"\nexport =x")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parseEnvironment(text) {
			require.NotEmpty(t, name)
			require.NotContains(t, name+value, "\n")
			require.NotContains(t, name, "=")
			require.Contains(t, text, value)
		}
	})
}

const scutilOutput = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
    2 : 10.0.0.0/8
    3 : not/anything
    4 : two words
  }
  ExcludeSimpleHostnames : 0
  FTPPassive : 1
  HTTPEnable : 1
  HTTPPort : 3128
  HTTPProxy : proxy.example
  HTTPSEnable : 1
  HTTPSPort : 3129
  HTTPSProxy : fd00::1
  HTTPUser : somebody
  SOCKSEnable : 0
  SOCKSPort : 1080
  SOCKSProxy : socks.example
  __SCOPED__ : <dictionary> {
    en0 : <dictionary> {
      HTTPProxy : other.example
    }
  }
}
`

func TestParseScutil(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want domain.Proxy
		auto bool
	}{
		"everything": {text: scutilOutput, want: domain.Proxy{HTTP: "http://proxy.example:3128", HTTPS: "http://[fd00::1]:3129", None: "*.local,169.254.0.0/16,10.0.0.0/8"}},
		"disabled":   {text: strings.ReplaceAll(strings.ReplaceAll(scutilOutput, "HTTPEnable : 1", "HTTPEnable : 0"), "HTTPSEnable : 1", "HTTPSEnable : 0"), want: domain.Proxy{None: "*.local,169.254.0.0/16,10.0.0.0/8"}},
		"socks":      {text: "<dictionary> {\n  HTTPEnable : 1\n  HTTPProxy : a\n  SOCKSEnable : 1\n  SOCKSPort : 1080\n  SOCKSProxy : 127.0.0.1\n}\n", want: domain.Proxy{HTTP: "http://a", HTTPS: "socks5://127.0.0.1:1080"}},
		"automatic":  {text: "<dictionary> {\n  ProxyAutoConfigEnable : 1\n  ProxyAutoConfigURLString : http://wpad/wpad.dat\n}\n", auto: true},
		"none":       {text: "<dictionary> {\n  FTPPassive : 1\n}\n"},
		"empty":      {},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parseScutil(c.text)
			require.Equal(t, domain.ProxyEnv(c.want), domain.ProxyEnv(p))
			require.Equal(t, c.auto, errors.Is(err, errAutomaticProxy))
			require.NoError(t, p.Check())
		})
	}
}

func FuzzParseScutil(f *testing.F) {
	f.Add(scutilOutput)
	f.Add("HTTPEnable : 1\nHTTPProxy : a b@c\nHTTPPort : 70000")
	f.Fuzz(func(t *testing.T, text string) {
		p, _ := parseScutil(text)
		require.NotContains(t, p.HTTP+p.HTTPS+p.None, "\n")
		if p.HTTP != "" {
			require.Contains(t, text, "HTTPProxy : ")
		}
	})
}
