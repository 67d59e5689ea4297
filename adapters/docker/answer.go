package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"arcbox/domain"
)

// defaultAPIVersion is the newest API version of the engine that the guest
// images carry, told while no engine has been seen yet.
const defaultAPIVersion = "1.56"

// statusOf maps kinds of failure to HTTP statuses.
func statusOf(err error) int {
	for _, m := range []struct {
		kind   error
		status int
	}{
		{domain.ErrTimeout, http.StatusGatewayTimeout},
		{context.DeadlineExceeded, http.StatusGatewayTimeout},
		{domain.ErrUnavailable, http.StatusServiceUnavailable},
		{errTooLarge, http.StatusRequestEntityTooLarge},
		{domain.ErrInvalid, http.StatusBadRequest},
		{domain.ErrNotFound, http.StatusNotFound},
		{domain.ErrConflict, http.StatusConflict},
		{domain.ErrUnsupported, http.StatusNotImplemented},
	} {
		if errors.Is(err, m.kind) {
			return m.status
		}
	}
	return http.StatusInternalServerError
}

// errorAnswer is a response in the engine's form for failures. The message is
// followed by the hint, since the Docker CLI shows nothing else.
func errorAnswer(err error, method string, last bool) []byte {
	text := err.Error()
	if hint := domain.Hint(err); hint != "" {
		text += " (" + hint + ")"
	}
	content, _ := json.Marshal(map[string]string{"message": text}) // strings always marshal
	var b strings.Builder
	status := statusOf(err)
	statusLine(&b, status)
	b.WriteString("Content-Type: application/json\r\n")
	return finish(&b, string(content)+"\n", method, last)
}

// pingAnswer is the answer to _ping of an engine that is not up, with the
// header fields of dockerd's (moby daemon/server/router/system).
func pingAnswer(info domain.EngineInfo, method string, last bool) []byte {
	api, server := info.APIVersion, "Docker (linux)"
	if api == "" {
		api = defaultAPIVersion
	}
	if info.Version != "" {
		server = "Docker/" + info.Version + " (linux)"
	}
	var b strings.Builder
	statusLine(&b, http.StatusOK)
	fmt.Fprintf(&b, "Api-Version: %s\r\nBuilder-Version: 2\r\nCache-Control: no-cache, no-store, must-revalidate\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nDocker-Experimental: false\r\nOstype: linux\r\nPragma: no-cache\r\n"+
		"Server: %s\r\nSwarm: inactive\r\n", oneLine(api), oneLine(server))
	if method == http.MethodHead {
		return finish(&b, "", http.MethodGet, last)
	}
	return finish(&b, "OK", method, last)
}

func statusLine(b *strings.Builder, status int) {
	fmt.Fprintf(b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
}

func finish(b *strings.Builder, content, method string, last bool) []byte {
	fmt.Fprintf(b, "Content-Length: %d\r\nDate: %s\r\n", len(content), time.Now().UTC().Format(http.TimeFormat))
	if last {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	if method != http.MethodHead {
		b.WriteString(content)
	}
	return []byte(b.String())
}

// oneLine keeps what the guest said about itself from adding header fields.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}
