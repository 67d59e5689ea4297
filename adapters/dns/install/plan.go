// Package install makes the host's own resolver send the names of containers
// to this program, and takes that back.
//
// What is to be done is a pure function of what is found on the host; Installer
// looks and executes.
package install

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"arcbox/domain"
)

// Target is what is installed: names under Domain are answered at Addr.
type Target struct {
	Domain string // as domain.ParseDomain returns it
	Addr   netip.AddrPort
}

// Method is a way in which a host's resolver is told.
type Method string

// Methods.
const (
	// Resolved is a drop-in of systemd-resolved with a server of its global scope.
	Resolved Method = "systemd-resolved"
	// Delegate is a scope of systemd-resolved of its own (version 258).
	Delegate Method = "systemd-resolved delegate"
	// NetworkManager is a drop-in of the dnsmasq that NetworkManager runs.
	NetworkManager Method = "NetworkManager dnsmasq"
	// ResolverFile is a file of macOS.
	ResolverFile Method = "resolver file"
)

// Places of files, as seen by the host.
const (
	resolvedFile = "/etc/systemd/resolved.conf.d/arcbox.conf"
	delegateFile = "/etc/systemd/dns-delegate.d/arcbox.dns-delegate"
	dnsmasqFile  = "/etc/NetworkManager/dnsmasq.d/arcbox.conf"
	resolverDir  = "/etc/resolver"
)

// marker is the first line of every file of ours.
const marker = "# Managed by ArcBox: arcbox dns uninstall removes this file."

// Versions of systemd.
const (
	portsSince     = 246 // DNS= takes a port
	delegatesSince = 258
)

// State is what was found on the host.
type State struct {
	OS string // as runtime.GOOS
	// ResolvConf and NSSwitch are the content of the two files.
	ResolvConf, NSSwitch string
	// Resolved and NetworkManager say that the service runs.
	Resolved, NetworkManager bool
	SystemdVersion           int // 0: unknown
	// ResolvedConf are systemd-resolved's files in the order in which they are
	// read, without ours; NetworkManagerConf likewise.
	ResolvedConf, NetworkManagerConf []string
	// Uplinks is the list of servers that systemd-resolved knows; "" unknown.
	Uplinks string
	// Files are those at places of ours, by path.
	Files map[string]string
}

// Step is one thing to do: to write a file, to remove it, or to run a command.
type Step struct {
	Write   string   `json:"write,omitempty"` // path
	Content string   `json:"content,omitempty"`
	Remove  string   `json:"remove,omitempty"` // path
	Command []string `json:"command,omitempty"`
}

// choose says how t is to be installed here: the method, its file and content.
// The error wraps domain.ErrUnsupported and its hint says what to do by hand.
func choose(s State, t Target) (m Method, file, content string, err error) {
	byHand := func(why string) error {
		return domain.WithHint(fmt.Errorf("%s: %w", why, domain.ErrUnsupported), fmt.Sprintf(
			"ask it directly with dig @%s -p %d NAME.%s, or have your own resolver send %[3]s there, in dnsmasq with server=/%[3]s/%[1]s#%[2]d",
			t.Addr.Addr(), t.Addr.Port(), t.Domain))
	}
	if s.OS == "darwin" {
		return ResolverFile, resolverDir + "/" + t.Domain, fmt.Sprintf("%s\nnameserver %s\nport %d\nsearch_order 1\ntimeout 5\n",
			marker, t.Addr.Addr(), t.Addr.Port()), nil
	}
	stub := namesServer(s.ResolvConf, "127.0.0.53", "127.0.0.54")
	dnsmasq := s.NetworkManager && setting(s.NetworkManagerConf, "main", "dns") == "dnsmasq"
	switch {
	case s.Resolved && (stub || !dnsmasq && slices.Contains(hostsSources(s.NSSwitch), "resolve")):
	case dnsmasq:
		return NetworkManager, dnsmasqFile, fmt.Sprintf("%s\nserver=/%s/%s#%d\nrebind-domain-ok=/%[2]s/\n", // containers have private addresses
			marker, t.Domain, t.Addr.Addr(), t.Addr.Port()), nil
	default:
		return "", "", "", byHand("this host uses neither systemd-resolved nor NetworkManager with dnsmasq")
	}
	if s.SystemdVersion > 0 && s.SystemdVersion < portsSince {
		return "", "", "", byHand(fmt.Sprintf("systemd-resolved %d takes no server with a port of its own", s.SystemdVersion))
	}
	// In the global scope our domain would be what its other servers are asked
	// for, and nothing else; and a first server there ends the use of fallbacks.
	var alone string
	_, installed := s.Files[resolvedFile]
	switch {
	case setting(s.ResolvedConf, "Resolve", "DNS") != "":
		alone = "systemd-resolved has servers of its own in DNS= already"
	case s.Uplinks != "" && !installed && !namesServer(s.Uplinks):
		alone = "systemd-resolved knows only its fallback servers"
	}
	if alone == "" {
		return Resolved, resolvedFile, fmt.Sprintf("%s\n[Resolve]\nDNS=%s\nDomains=~%s\n", marker, t.Addr, t.Domain), nil
	}
	if s.SystemdVersion < delegatesSince {
		return "", "", "", byHand(alone + ", which a server for one domain would replace")
	}
	return Delegate, delegateFile, fmt.Sprintf("%s\n[Delegate]\nDNS=%s\nDomains=~%s\n", marker, t.Addr, t.Domain), nil
}

// planInstall returns what makes t installed, and nothing when it is. Files of
// ours of another method or domain go. The error wraps domain.ErrConflict when
// somebody else has the file.
func planInstall(s State, t Target) (Method, []Step, error) {
	m, file, content, err := choose(s, t)
	if err != nil {
		return "", nil, err
	}
	if there, ok := s.Files[file]; ok && !isOurs(there) {
		return m, nil, domain.WithHint(fmt.Errorf("%s exists and is not of ArcBox: %w", file, domain.ErrConflict),
			"remove it if nothing else needs it")
	}
	stale := maps.Clone(s.Files)
	delete(stale, file)
	steps := removals(stale)
	if s.Files[file] != content {
		steps = append(steps, Step{Write: file, Content: content})
	}
	return m, append(steps, reloads(s, steps)...), nil
}

// planUninstall returns what removes all that is ours.
func planUninstall(s State) []Step {
	steps := removals(s.Files)
	return append(steps, reloads(s, steps)...)
}

func removals(files map[string]string) []Step {
	var steps []Step
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if isOurs(files[path]) {
			steps = append(steps, Step{Remove: path})
		}
	}
	return steps
}

// reloads are the commands that make services see the files of steps.
func reloads(s State, steps []Step) []Step {
	touched := func(path string) bool {
		return slices.ContainsFunc(steps, func(s Step) bool { return s.Write == path || s.Remove == path })
	}
	var out []Step
	if s.Resolved && (touched(resolvedFile) || touched(delegateFile)) {
		// It can reload only since version 256; what links told it survives.
		out = append(out, Step{Command: []string{"systemctl", "restart", "systemd-resolved.service"}})
	}
	if s.NetworkManager && touched(dnsmasqFile) {
		out = append(out, Step{Command: []string{"nmcli", "general", "reload", "dns-full"}}) // restarts dnsmasq alone
	}
	return out
}

func isOurs(content string) bool { return strings.HasPrefix(content, marker+"\n") }
