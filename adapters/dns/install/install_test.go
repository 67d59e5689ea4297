package install

import (
	"context"
	"errors"
	"io/fs"
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

var target = Target{Domain: "arcbox.local", Addr: netip.MustParseAddrPort("127.0.0.1:5553")}

const stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n"

func TestChoose(t *testing.T) {
	byNetworkManager := State{OS: "linux", NetworkManager: true, ResolvConf: "nameserver 127.0.0.1\n",
		NetworkManagerConf: []string{"[main]\nplugins=keyfile\n", "[main]\ndns=dnsmasq\n"}}
	both := byNetworkManager
	both.Resolved, both.ResolvConf = true, stub
	for name, c := range map[string]struct {
		in      State
		method  Method
		file    string
		content string
	}{
		"resolved": {State{OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 255, Uplinks: "nameserver 192.0.2.1\n"},
			Resolved, resolvedFile, "[Resolve]\nDNS=127.0.0.1:5553\nDomains=~arcbox.local\n"},
		"resolved by nsswitch": {State{OS: "linux", Resolved: true, ResolvConf: "nameserver 192.0.2.1\n",
			NSSwitch: "passwd: files\nhosts: files resolve [!UNAVAIL=return] dns # x\n"}, Resolved, resolvedFile, ""},
		"resolved with servers of its own": {State{OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 258,
			ResolvedConf: []string{"[Resolve]\nDNS=192.0.2.1\n"}}, Delegate, delegateFile, "[Delegate]\nDNS=127.0.0.1:5553\nDomains=~arcbox.local\n"},
		"its servers were taken back": {State{OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 255,
			ResolvedConf: []string{"[Resolve]\nDNS=192.0.2.1\n", "[Resolve]\nDNS=\n"}}, Resolved, resolvedFile, ""},
		"resolved with fallbacks": {State{OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 259, Uplinks: "# none\n"},
			Delegate, delegateFile, ""},
		"the only server is ours": {State{OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 255, Uplinks: "# none\n",
			Files: map[string]string{resolvedFile: marker + "\n"}}, Resolved, resolvedFile, ""},
		"dnsmasq":                          {byNetworkManager, NetworkManager, dnsmasqFile, "server=/arcbox.local/127.0.0.1#5553\nrebind-domain-ok=/arcbox.local/\n"},
		"both, and resolv.conf says which": {both, Resolved, resolvedFile, ""},
		"macOS": {State{OS: "darwin"}, ResolverFile, "/etc/resolver/arcbox.local",
			"nameserver 127.0.0.1\nport 5553\nsearch_order 1\ntimeout 5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m, file, content, err := choose(c.in, target)
			require.NoError(t, err)
			require.Equal(t, c.method, m)
			require.Equal(t, c.file, file)
			require.True(t, isOurs(content))
			if c.content != "" {
				require.Equal(t, marker+"\n"+c.content, content)
			}
		})
	}
	for name, s := range map[string]State{
		"nothing":          {OS: "linux", ResolvConf: "nameserver 192.0.2.1\n"},
		"resolved is down": {OS: "linux", ResolvConf: stub},
		"resolved unused":  {OS: "linux", Resolved: true, ResolvConf: "nameserver 192.0.2.1\n", NSSwitch: "hosts: files dns\n"},
		"other plugin":     {OS: "linux", NetworkManager: true, NetworkManagerConf: []string{"[main]\ndns=none\n"}},
		"old resolved":     {OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 245},
		"no delegates yet": {OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 255, ResolvedConf: []string{"[Resolve]\nDNS = 192.0.2.1\n"}},
		"only fallbacks":   {OS: "linux", Resolved: true, ResolvConf: stub, SystemdVersion: 255, Uplinks: "# none\n"},
	} {
		_, _, _, err := choose(s, target)
		require.ErrorIs(t, err, domain.ErrUnsupported, name)
		require.Contains(t, domain.Hint(err), "dig @127.0.0.1 -p 5553", name)
	}
}

func TestConfFiles(t *testing.T) {
	require.Equal(t, "a b c", setting([]string{"[X]\nDNS=no\n[Resolve]\n#DNS=no\n DNS = a b\n", "[Resolve]\nDNS=c\nDNSX=d\nrubbish\n"}, "Resolve", "DNS"))
	require.Empty(t, setting([]string{"DNS=no section\n"}, "Resolve", "DNS"))
	for text, want := range map[string]int{"systemd 257 (257.9-1)\n+PAM": 257, "systemd 258~rc1": 258, "": 0, "busybox 1": 0, "systemd x": 0} {
		require.Equal(t, want, systemdVersion(text), text)
	}
	require.True(t, namesServer("# x\nnameserver 192.0.2.1\n"))
	require.False(t, namesServer("# nameserver 192.0.2.1\nnameserver\n"))
	require.False(t, namesServer("nameserver 192.0.2.1\n", "127.0.0.53"))
}

// host is a host in a directory.
type host struct {
	root     string
	active   map[string]bool
	version  string
	fail     map[string]error // by the command's first word and second
	commands []string
	found    []string
	user     bool
}

func newHost(t *testing.T, files map[string]string) *host {
	h := &host{root: t.TempDir(), active: map[string]bool{}, fail: map[string]error{}, version: "systemd 255 (255.4)"}
	for path, text := range files {
		h.put(t, path, text)
	}
	return h
}

func (h *host) put(t *testing.T, path, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(h.root, path)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(h.root, path), []byte(text), 0o600))
}

func (h *host) files(t *testing.T) map[string]string {
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, h.root)] = string(b)
		return err
	}))
	return out
}

func (h *host) run(_ context.Context, argv []string) (string, error) {
	switch argv[1] {
	case "is-active":
		if h.active[argv[2]] {
			return "active\n", nil
		}
		return "inactive\n", errors.New("exit status 3")
	case "--version":
		return h.version, nil
	}
	h.commands = append(h.commands, strings.Join(argv, " "))
	return "first\nwhat went wrong\n", h.fail[argv[0]]
}

func (h *host) installer(t *testing.T, os string, to Target) *Installer {
	i, err := New(Options{Target: to, Program: "/bin/arcbox", Arguments: "--port 9", Root: h.root, OS: os, Run: h.run,
		Privileged: func() bool { return !h.user }, Lookup: func(context.Context, string) ([]string, error) { return h.found, nil }})
	require.NoError(t, err)
	return i
}

func resolvedHost(t *testing.T) *host {
	h := newHost(t, map[string]string{"/etc/resolv.conf": stub, "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.1\n",
		"/etc/systemd/resolved.conf": "[Resolve]\n#DNS=\n", "/etc/systemd/resolved.conf.d/mine.conf": "[Resolve]\nLLMNR=no\n"})
	h.active["systemd-resolved.service"] = true
	return h
}

func TestInstallAndUninstall(t *testing.T) {
	ctx := t.Context()
	nm := newHost(t, map[string]string{"/etc/resolv.conf": "nameserver 127.0.0.1\n", "/etc/NetworkManager/NetworkManager.conf": "[main]\n",
		"/usr/lib/NetworkManager/conf.d/dns.conf": "[main]\ndns=dnsmasq\n"})
	nm.active["NetworkManager.service"] = true
	delegate := resolvedHost(t)
	delegate.put(t, "/etc/systemd/resolved.conf.d/mine.conf", "[Resolve]\nDNS=192.0.2.9\n")
	delegate.version = "systemd 258"
	for name, c := range map[string]struct {
		h    *host
		os   string
		file string
		run  []string
	}{
		"resolved":       {resolvedHost(t), "linux", resolvedFile, []string{"systemctl restart systemd-resolved.service"}},
		"delegate":       {delegate, "linux", delegateFile, []string{"systemctl restart systemd-resolved.service"}},
		"NetworkManager": {nm, "linux", dnsmasqFile, []string{"nmcli general reload dns-full"}},
		"macOS":          {newHost(t, map[string]string{"/etc/resolver/corp": "nameserver 192.0.2.1\n"}), "darwin", "/etc/resolver/arcbox.local", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h, i := c.h, c.h.installer(t, c.os, target)
			before := h.files(t)

			dry, err := i.Install(ctx, true)
			require.NoError(t, err)
			require.Equal(t, before, h.files(t), "a dry run changes nothing")
			require.Empty(t, h.commands)

			done, err := i.Install(ctx, false)
			require.NoError(t, err)
			require.Equal(t, dry, done)
			require.Equal(t, c.file, done.Steps[0].Write)
			require.Equal(t, done.Steps[0].Content, h.files(t)[c.file])
			require.Len(t, h.files(t), len(before)+1)
			require.Equal(t, c.run, h.commands)
			info, err := os.Stat(filepath.Join(h.root, c.file))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "read by the service's own user")

			again, err := i.Install(ctx, false)
			require.NoError(t, err)
			require.Empty(t, again.Steps)
			require.Len(t, h.commands, len(c.run))
			st, err := i.Status(ctx)
			require.NoError(t, err)
			require.True(t, st.Installed)
			require.Equal(t, []string{c.file}, st.Files)

			other := target
			other.Addr = netip.MustParseAddrPort("127.0.0.1:5554")
			st, err = h.installer(t, c.os, other).Status(ctx)
			require.NoError(t, err)
			require.False(t, st.Installed, "another port")
			_, err = h.installer(t, c.os, other).Install(ctx, false)
			require.NoError(t, err)
			require.Contains(t, h.files(t)[c.file], "5554")

			_, err = i.Uninstall(ctx, true)
			require.NoError(t, err)
			require.Contains(t, h.files(t), c.file)
			_, err = i.Uninstall(ctx, false)
			require.NoError(t, err)
			require.Equal(t, before, h.files(t))
			gone, err := i.Uninstall(ctx, false)
			require.NoError(t, err)
			require.Empty(t, gone.Steps)
			require.Len(t, h.commands, 3*len(c.run))
		})
	}
}

func TestInstallTouchesNothingOfOthers(t *testing.T) {
	h := resolvedHost(t)
	h.put(t, resolvedFile, "[Resolve]\nDNS=192.0.2.3\n")
	before := h.files(t)
	i := h.installer(t, "linux", target)
	_, err := i.Install(t.Context(), false)
	require.ErrorIs(t, err, domain.ErrConflict)
	require.ErrorContains(t, err, resolvedFile)
	c, err := i.Uninstall(t.Context(), false)
	require.NoError(t, err)
	require.Empty(t, c.Steps)
	require.Equal(t, before, h.files(t))
}

// What was installed for another domain, or with another method, goes.
func TestInstallReplacesItsOlder(t *testing.T) {
	h := newHost(t, map[string]string{"/etc/resolver/old.test": marker + "\nnameserver 127.0.0.1\n", "/etc/resolver/corp": "nameserver 192.0.2.1\n"})
	c, err := h.installer(t, "darwin", target).Install(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, "/etc/resolver/old.test", c.Steps[0].Remove)
	require.Len(t, h.files(t), 2)

	h = resolvedHost(t)
	h.active["NetworkManager.service"] = true
	h.put(t, dnsmasqFile, marker+"\n")
	_, err = h.installer(t, "linux", target).Install(t.Context(), false)
	require.NoError(t, err)
	require.NotContains(t, h.files(t), dnsmasqFile)
	require.Len(t, h.commands, 2)
}

func TestInstallNeedsRoot(t *testing.T) {
	h := resolvedHost(t)
	h.user = true
	before := h.files(t)
	i := h.installer(t, "linux", target)
	_, err := i.Install(t.Context(), false)
	require.ErrorIs(t, err, domain.ErrPermission)
	require.Equal(t, "run: sudo /bin/arcbox dns install --port 9", domain.Hint(err))
	require.Equal(t, before, h.files(t))
	_, err = i.Install(t.Context(), true)
	require.NoError(t, err, "saying what would be done needs nothing")
	_, err = i.Uninstall(t.Context(), false)
	require.NoError(t, err, "there is nothing to do")
}

// A service that cannot be told leaves the host as it was.
func TestFailedReloadIsTakenBack(t *testing.T) {
	h := resolvedHost(t)
	h.fail["systemctl"] = errors.New("exit status 1")
	before := h.files(t)
	_, err := h.installer(t, "linux", target).Install(t.Context(), false)
	require.ErrorContains(t, err, "systemctl restart systemd-resolved.service: exit status 1")
	require.ErrorContains(t, err, "what went wrong")
	require.Equal(t, before, h.files(t))

	h.put(t, resolvedFile, marker+"\nolder\n")
	_, err = h.installer(t, "linux", target).Install(t.Context(), false)
	require.Error(t, err)
	require.Equal(t, marker+"\nolder\n", h.files(t)[resolvedFile])
}

func TestStatusAsksTheHost(t *testing.T) {
	h := newHost(t, nil)
	for _, c := range []struct {
		found []string
		want  bool
	}{{nil, false}, {[]string{"192.0.2.1"}, false}, {[]string{"127.0.0.1", "::1"}, true}} {
		h.found = c.found
		st, err := h.installer(t, "linux", Target{"arcbox.local", netip.MustParseAddrPort("127.0.0.1:9")}).Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.want, st.Resolves)
		require.False(t, st.Answers)
		require.ErrorIs(t, st.Problem, domain.ErrUnsupported)
		require.False(t, st.Installed)
	}
}

// What New takes is written into files that root's services read.
func TestNewRefuses(t *testing.T) {
	good := target.Addr
	for _, to := range []Target{
		{"", good}, {"a b", good}, {"a\nDNS=192.0.2.1", good}, {"../x", good}, {"a/b", good}, {"-a", good}, {".", good}, {"a..b", good},
		{"a", netip.AddrPort{}}, {"a", netip.MustParseAddrPort("127.0.0.1:0")}, {"a", netip.MustParseAddrPort("192.0.2.1:53")},
	} {
		_, err := New(Options{Target: to})
		require.ErrorIs(t, err, domain.ErrInvalid, "%q", to.Domain)
	}
}

func TestRun(t *testing.T) {
	out, err := run(t.Context(), []string{"sh", "-c", "echo one; echo two >&2; exit 3"})
	require.Error(t, err)
	require.Equal(t, "one\ntwo\n", out)
}

func FuzzConfFiles(f *testing.F) {
	f.Add("[Resolve]\nDNS=a\n")
	f.Add("hosts: files resolve\nnameserver x\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := State{OS: "linux", Resolved: true, NetworkManager: true, ResolvConf: text, NSSwitch: text, Uplinks: text,
			ResolvedConf: []string{text}, NetworkManagerConf: []string{text}, SystemdVersion: systemdVersion(text)}
		_, _, content, err := choose(s, target)
		if (err == nil) != isOurs(content) {
			t.Fatalf("%q: %q, %v", text, content, err)
		}
	})
}
