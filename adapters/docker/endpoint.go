package docker

import (
	"encoding/json"
	"net/url"
	"strings"
)

// endpoint is what a request's method and target say about it.
type endpoint struct {
	path     string // without host, version and query
	query    string
	ping     bool // GET or HEAD /_ping
	create   bool // POST /containers/create
	service  bool // POST /services/create or /services/{id}/update
	observes bool // only watches: does not keep the machine awake

	starts    bool   // the engine may publish ports before it answers
	container string // whose, as the client named it; "" when that is not known
}

func classify(method, target string) endpoint {
	if scheme, after, absolute := strings.Cut(target, "://"); absolute && !strings.ContainsAny(scheme, "/?") {
		if slash := strings.IndexByte(after, '/'); slash >= 0 {
			target = after[slash:]
		}
	}
	path, query, _ := strings.Cut(target, "?")
	e := endpoint{path: trimVersion(path), query: query}
	switch method {
	case "POST":
		e.create, e.service = e.creates()
		e.container, e.starts = e.publishes()
	case "HEAD":
		e.ping = e.path == "/_ping"
		e.observes = e.ping
	case "GET":
		e.ping = e.path == "/_ping"
		e.observes = e.ping || e.streams()
	}
	return e
}

// creates reports whether a POST creates a container or a service's containers.
// dockerd matches the decoded path, so an escaped letter does not change what a
// path is.
func (e endpoint) creates() (container, service bool) {
	decoded, err := url.PathUnescape(e.path)
	if err != nil {
		return false, false
	}
	if decoded = trimVersion(decoded); decoded == "/containers/create" {
		return true, false
	}
	name, found := strings.CutPrefix(decoded, "/services/")
	name, action, _ := strings.Cut(name, "/")
	return false, found && (name == "create" && action == "" || action == "update")
}

// publishes reports whether a POST may have the engine publish ports, and the
// container's, if the path tells: connecting a container to another network, or
// taking it off one, can publish its ports anew.
func (e endpoint) publishes() (container string, ok bool) {
	if name, found := strings.CutPrefix(e.path, "/containers/"); found {
		name, action, _ := strings.Cut(name, "/")
		if action != "start" && action != "restart" {
			return "", false
		}
		container, err := url.PathUnescape(name)
		if err != nil {
			container = ""
		}
		return container, true
	}
	name, found := strings.CutPrefix(e.path, "/networks/")
	_, action, _ := strings.Cut(name, "/")
	return "", found && (action == "connect" || action == "disconnect")
}

// containerIn is the container that the body of a request about a network
// names, "" when it does not.
func containerIn(content []byte) string {
	var b struct{ Container string }
	if json.Unmarshal(content, &b) != nil {
		return ""
	}
	return b.Container
}

// streams reports whether a GET is one of those that observers keep open or
// repeat without end.
func (e endpoint) streams() bool {
	switch e.path {
	case "/events", "/containers/json":
		return true
	}
	name, found := strings.CutPrefix(e.path, "/containers/")
	if !found {
		return false
	}
	switch _, action, _ := strings.Cut(name, "/"); action {
	case "stats":
		return e.flag("stream", true)
	case "logs":
		return e.flag("follow", false)
	}
	return false
}

// flag reads a query value as dockerd does.
func (e endpoint) flag(key string, absent bool) bool {
	q, err := url.ParseQuery(e.query)
	if err != nil || !q.Has(key) {
		return absent
	}
	switch strings.ToLower(strings.TrimSpace(q.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// trimVersion takes a leading /v<version> off path, which is of digits and dots
// for dockerd.
func trimVersion(path string) string {
	after, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return path
	}
	version, rest, ok := strings.Cut(after, "/")
	if !ok || version == "" || strings.Trim(version, "0123456789.") != "" {
		return path
	}
	return path[len(path)-len(rest)-1:]
}

// template names the route for logs: names, identifiers and tags, which are
// the user's, become {}.
func (e endpoint) template() string {
	var b strings.Builder
	masked := false
	for segment := range strings.SplitSeq(strings.Trim(e.path, "/"), "/") {
		if routeWord(segment) {
			b.WriteString("/" + segment)
			masked = false
		} else if !masked {
			b.WriteString("/{}")
			masked = true
		}
	}
	return b.String()
}

// routeWord reports whether s is a fixed part of a route of Engine API 1.56.
func routeWord(s string) bool {
	switch s {
	case "_ping", "version", "info", "events", "auth", "system", "df", "session", "grpc", "build", "cancel", "prune", "commit",
		"containers", "create", "json", "top", "logs", "changes", "export", "stats", "resize", "start", "stop", "restart", "kill",
		"update", "rename", "pause", "unpause", "attach", "ws", "wait", "archive", "exec",
		"images", "history", "push", "tag", "search", "get", "load", "distribution",
		"networks", "connect", "disconnect", "volumes", "plugins", "privileges", "pull", "enable", "disable", "upgrade", "set",
		"swarm", "init", "join", "leave", "unlockkey", "unlock", "nodes", "services", "tasks", "secrets", "configs":
		return true
	}
	return false
}
