package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

func echoPath(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s", r.RequestURI, b)
}

func TestPingWhileDown(t *testing.T) {
	engines := &fakeEngines{known: domain.EngineInfo{Version: "29.1.0", APIVersion: "1.52"}}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for _, target := range []string{"/_ping", "/v1.24/_ping", "/v1.52/_ping"} {
		for _, method := range []string{"HEAD", "GET"} {
			send(t, c, method+" "+target+" HTTP/1.1\r\nHost: d\r\n\r\n")
			res, body := readResponse(t, br, method)
			require.Equal(t, 200, res.StatusCode)
			if method == "GET" {
				require.Equal(t, "OK", body)
			}
			for name, value := range map[string]string{"Api-Version": "1.52", "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "2",
				"Server": "Docker/29.1.0 (linux)", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Swarm": "inactive"} {
				require.Equal(t, value, res.Header.Get(name), name)
			}
		}
	}
	// On the same connection the engine's own answer once it is up.
	engines.set(httpEngine(t, 1, http.HandlerFunc(echoPath)))
	send(t, c, "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
	_, body := readResponse(t, br, "GET")
	require.Equal(t, "/_ping ", body)
	require.Zero(t, engines.boots.Load(), "a ping does not boot")
	require.Zero(t, engines.holds.Load(), "nor does it keep awake")

	engines.set(nil)
	send(t, c, "GET /_ping HTTP/1.0\r\n\r\n")
	res, _ := readResponse(t, br, "GET")
	require.True(t, res.Close)
	requireEnd(t, br)
}

func TestPingBeforeAnythingIsKnown(t *testing.T) {
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(pingAnswer(domain.EngineInfo{APIVersion: "", Version: "1\r\nEvil: yes"}, "GET", false)))), nil)
	require.NoError(t, err)
	require.Equal(t, defaultAPIVersion, res.Header.Get("Api-Version"))
	require.Empty(t, res.Header.Get("Evil"), "the guest adds no header fields")
}

func TestHeldWhileBooting(t *testing.T) {
	engines := &fakeEngines{}
	engine := httpEngine(t, 1, http.HandlerFunc(echoPath))
	boot := make(chan struct{})
	engines.boot = func(ctx context.Context) (*fakeEngine, error) {
		select {
		case <-boot:
			return engine, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	// Sent whole, and half-closed, while there is nobody to read it.
	send(t, c, "POST /v1.47/containers/x/start HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n\r\nbody")
	eventually(t, "boots", func() bool { return engines.boots.Load() == 1 })
	require.EqualValues(t, 1, engines.held.Load())
	ping := dial(t, s)
	send(t, ping, "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
	_, body := readResponse(t, bufio.NewReader(ping), "GET")
	require.Equal(t, "OK", body, "answered meanwhile")
	close(boot)
	br := bufio.NewReader(c)
	_, body = readResponse(t, br, "POST")
	require.Equal(t, "/v1.47/containers/x/start body", body)
	send(t, c, "GET /again HTTP/1.1\r\nHost: d\r\n\r\n")
	_, body = readResponse(t, br, "GET")
	require.Equal(t, "/again ", body)
}

func TestBootFails(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		status int
		text   string
	}{
		"reason and hint": {domain.WithHint(fmt.Errorf("kernel panic in line 7: %w", domain.ErrUnavailable), "see arcbox logs"), 503, "wait for the Docker engine: kernel panic in line 7: unavailable (see arcbox logs)"},
		"timeout":         {fmt.Errorf("agent hello: %w", domain.ErrTimeout), 504, "agent hello"},
		"not supported":   {domain.ErrUnsupported, 501, "not supported"},
		"other":           {errors.New("strange"), 500, "strange"},
	} {
		t.Run(name, func(t *testing.T) {
			engines := &fakeEngines{boot: func(context.Context) (*fakeEngine, error) { return nil, tc.err }}
			s := serve(t, engines, Options{})
			c := dial(t, s)
			br := bufio.NewReader(c)
			for range 2 { // the connection goes on
				send(t, c, "GET /containers/json HTTP/1.1\r\nHost: d\r\n\r\n")
				res, body := readResponse(t, br, "GET")
				require.Equal(t, tc.status, res.StatusCode)
				require.Equal(t, "application/json", res.Header.Get("Content-Type"))
				var m struct{ Message string }
				require.NoError(t, json.Unmarshal([]byte(body), &m))
				require.Contains(t, m.Message, tc.text)
			}
			send(t, c, "HEAD /containers/x/archive HTTP/1.1\r\nHost: d\r\n\r\n")
			res, _ := readResponse(t, br, "HEAD")
			require.Equal(t, tc.status, res.StatusCode)
			// An upload is answered although nobody takes it.
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = io.WriteString(c, "POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 8000000\r\n\r\n"+strings.Repeat("x", 8000000))
			}()
			res, _ = readResponse(t, br, "POST")
			require.Equal(t, tc.status, res.StatusCode)
			require.True(t, res.Close)
			_ = c.Close()
			<-done
		})
	}
}

func TestBootFailsBeforeExpectedBody(t *testing.T) {
	s := serve(t, &fakeEngines{}, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	send(t, c, "POST /build HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	res, _ := readResponse(t, br, "POST")
	require.Equal(t, 503, res.StatusCode)
	requireEnd(t, br)
}

func TestWaitIsBounded(t *testing.T) {
	engines := &fakeEngines{boot: func(ctx context.Context) (*fakeEngine, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("guest agent: %w", ctx.Err())
	}}
	s := serve(t, engines, Options{Wait: 50 * time.Millisecond})
	c := dial(t, s)
	send(t, c, "GET /info HTTP/1.1\r\nHost: d\r\n\r\n")
	res, body := readResponse(t, bufio.NewReader(c), "GET")
	require.Equal(t, 504, res.StatusCode)
	require.Contains(t, body, "guest agent")
}

func TestClientVanishesWhileHeld(t *testing.T) {
	ended := make(chan struct{})
	engines := &fakeEngines{boot: func(ctx context.Context) (*fakeEngine, error) {
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	send(t, c, "GET /info HTTP/1.1\r\nHost: d\r\n\r\n")
	eventually(t, "boots", func() bool { return engines.boots.Load() == 1 })
	require.NoError(t, c.CloseWrite())
	select {
	case <-ended:
		t.Fatal("a half-close is not a vanished client")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, c.Close())
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Fatal("the wait went on without a client")
	}
}

// twoRoles has an engine for each role.
type twoRoles map[domain.Role]*fakeEngines

func (r twoRoles) EnsureReady(ctx context.Context, role domain.Role) (port.Engine, error) {
	return r[role].EnsureReady(ctx, role)
}
func (r twoRoles) Peek(role domain.Role) (port.Engine, bool) { return r[role].Peek(role) }
func (r twoRoles) Known(role domain.Role) domain.EngineInfo  { return r[role].Known(role) }
func (r twoRoles) Hold(role domain.Role) func()              { return r[role].Hold(role) }

// TestRolesOnOneConnection: each request goes to its own role's engine.
func TestRolesOnOneConnection(t *testing.T) {
	says := func(word string) *fakeEngines {
		return &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s", word, b)
		}))}
	}
	engines := twoRoles{domain.RoleNative: says("native"), domain.RoleRosetta: says("rosetta")}
	s := serve(t, engines, Options{Create: func(_ context.Context, q url.Values, _ []byte) (domain.Role, []byte, error) {
		return domain.Role(q.Get("platform")), nil, nil
	}})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for i, tc := range []struct{ query, want string }{{"native", "native"}, {"rosetta", "rosetta"}, {"rosetta", "rosetta"}, {"", "native"}, {"rosetta", "rosetta"}} {
		send(t, c, fmt.Sprintf("POST /containers/create?platform=%s HTTP/1.1\r\nHost: d\r\nContent-Length: 1\r\n\r\n%d", tc.query, i))
		_, body := readResponse(t, br, "POST")
		require.Equal(t, fmt.Sprintf("%s %d", tc.want, i), body)
	}
	require.EqualValues(t, 2, engines[domain.RoleNative].holds.Load())
	require.EqualValues(t, 3, engines[domain.RoleRosetta].holds.Load())
}

// TestObserversDoNotHold: what only watches must not keep the machine awake.
func TestObserversDoNotHold(t *testing.T) {
	engines := &fakeEngines{}
	hold := make(chan int32)
	engines.set(httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hold <- engines.held.Load()
	})))
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for request, want := range map[string]int32{
		"GET /v1.47/events?since=1":             0,
		"GET /containers/json":                  0,
		"HEAD /_ping":                           0,
		"GET /containers/x/stats":               0,
		"GET /containers/x/stats?stream=false":  1,
		"GET /containers/x/logs?follow=1":       0,
		"GET /containers/x/logs?follow=0":       1,
		"GET /containers/x/logs?stdout=1":       1,
		"GET http://docker/v1.47/events":        0,
		"GET /info":                             1,
		"POST /containers/x/wait":               1,
		"POST /containers/json":                 1,
		"GET /vx/events":                        1,
		"GET /containers/x/json":                1,
		"DELETE /containers/x/logs?follow=1":    1,
		"GET /v1.47/containers/a/logs?follow=t": 0,
	} {
		send(t, c, request+" HTTP/1.1\r\nHost: d\r\n\r\n")
		require.Equal(t, want, <-hold, request)
		readResponse(t, br, request[:strings.IndexByte(request, ' ')])
		eventually(t, "released", func() bool { return engines.held.Load() == 0 })
	}
}

func TestNoSecretsInLog(t *testing.T) {
	f, log := captureLog(t)
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(echoPath))}
	s := serve(t, engines, Options{Log: log, Create: func(_ context.Context, q url.Values, _ []byte) (domain.Role, []byte, error) {
		if q.Has("refuse") {
			return "", nil, fmt.Errorf("SECRET: %w", domain.ErrInvalid)
		}
		return domain.RoleNative, nil, nil
	}})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for _, request := range []string{
		"POST /v1.47/containers/create?name=SECRET HTTP/1.1\r\nX-Registry-Auth: SECRET\r\nHost: SECRET\r\nContent-Length: 18\r\n\r\n{\"Env\":[\"SECRET\"]}",
		"POST /containers/create?refuse=SECRET HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}",
		"GET /images/SECRET/SECRET/json?SECRET HTTP/1.1\r\nAuthorization: SECRET\r\nHost: d\r\n\r\n",
		"GET /SECRET HTTP/1.1\r\nHost: d\r\n\r\n",
	} {
		send(t, c, request)
		readResponse(t, br, request[:strings.IndexByte(request, ' ')])
	}
	engines.set(nil)
	send(t, c, "GET /exec/SECRET/json HTTP/1.1\r\nHost: d\r\n\r\n")
	_, body := readResponse(t, br, "GET")
	require.NotContains(t, body, "SECRET")
	b, err := os.ReadFile(f)
	require.NoError(t, err)
	require.Contains(t, string(b), "method=POST route=/containers/create")
	require.Contains(t, string(b), "route=/images/{}/json")
	require.NotContains(t, string(b), "SECRET")
}

// TestTwoGenerations: a keep-alive connection outlives its engine.
func TestTwoGenerations(t *testing.T) {
	first := httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "first") }))
	second := httpEngine(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "second") }))
	for _, method := range []string{"GET", "POST"} {
		engines := &fakeEngines{engine: first, boot: func(context.Context) (*fakeEngine, error) { return second, nil }}
		s := serve(t, engines, Options{})
		c := dial(t, s)
		br := bufio.NewReader(c)
		ask := func() string {
			send(t, c, method+" /x HTTP/1.1\r\nHost: d\r\n\r\n")
			_, body := readResponse(t, br, method)
			return body
		}
		require.Equal(t, "first", ask())
		engines.set(nil) // stopped between two requests
		require.Equal(t, "second", ask())
		require.EqualValues(t, 1, engines.boots.Load())
	}
}

func TestGoneEngineClosesItsStreams(t *testing.T) {
	idle := make(chan error, 1)
	engine := rawEngine(t, 1, func(c *net.UnixConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, err := io.Copy(io.Discard, c)
		idle <- err
	})
	s := serve(t, &fakeEngines{engine: engine}, Options{})
	c := dial(t, s)
	send(t, c, "GET /x HTTP/1.1\r\nHost: d\r\n\r\n")
	readResponse(t, bufio.NewReader(c), "GET")
	close(engine.gone)
	select {
	case <-idle:
	case <-time.After(time.Second):
		t.Fatal("a stream outlived its engine")
	}
}
