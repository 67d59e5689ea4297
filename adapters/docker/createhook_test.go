package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// asked is what a hook was called with.
type asked struct{ query, body string }

// echoRequest answers with all that the engine got.
func echoRequest(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s length=%d encoding=%v expect=%q x=%q %s", r.URL.RequestURI(), r.ContentLength, r.TransferEncoding, r.Header.Get("Expect"), r.Header.Get("X-Kept"), b)
}

// judging is a server whose hook refuses bodies with "bad", replaces those with
// "change" and lets others pass.
func judging(t *testing.T) (s *Server, engines *fakeEngines, calls *atomic.Pointer[asked]) {
	t.Helper()
	calls = new(atomic.Pointer[asked])
	judge := func(query string, body []byte) ([]byte, error) {
		calls.Store(&asked{query, string(body)})
		switch {
		case strings.Contains(string(body), "bad"):
			return nil, domain.WithHint(fmt.Errorf("bind source /srv: %w", domain.ErrInvalid), "add it to vm.mounts")
		case strings.Contains(string(body), "amd64"):
			return nil, fmt.Errorf("linux/amd64: %w", domain.ErrUnsupported)
		case strings.Contains(string(body), "change"):
			return []byte(strings.Replace(string(body), "change", "something longer", 1)), nil
		}
		return nil, nil
	}
	engines = &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(echoRequest))}
	s = serve(t, engines, Options{
		Create: func(_ context.Context, q url.Values, body []byte) (domain.Role, []byte, error) {
			replaced, err := judge(q.Encode(), body)
			return domain.RoleNative, replaced, err
		},
		Service: func(_ context.Context, body []byte) ([]byte, error) { return judge("service", body) },
	})
	return s, engines, calls
}

func TestCreateIsJudgedAndPassedOn(t *testing.T) {
	s, _, calls := judging(t)
	c := dial(t, s)
	br := bufio.NewReader(c)
	const path = "/v1.47/containers/create"
	for name, tc := range map[string]struct{ target, head, body, query, seen, got string }{
		"length":           {path + "?name=x", "Content-Length: 2", "{}", "name=x", "{}", path + `?name=x length=2 encoding=[] expect="" x="" {}`},
		"chunked":          {path, "Transfer-Encoding: chunked", "3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n", "", `{"a":1}`, path + ` length=-1 encoding=[chunked] expect="" x="" {"a":1}`},
		"none":             {path, "X-Kept: y", "", "", "", path + ` length=0 encoding=[] expect="" x="y" `},
		"changed":          {path, "Content-Length: 8\r\nX-Kept: y", `"change"`, "", `"change"`, path + ` length=18 encoding=[] expect="" x="y" "something longer"`},
		"changed, chunked": {path, "transfer-encoding:chunked\r\nTrailer: T\r\nX-Kept: z", "3\r\n\"ch\r\n5\r\nange\"\r\n0\r\nT: 1\r\n\r\n", "", `"change"`, path + ` length=18 encoding=[] expect="" x="z" "something longer"`},
		"escaped path":     {"/containers/%63reate", "Content-Length: 2", "{}", "", "{}", `/containers/%63reate length=2 encoding=[] expect="" x="" {}`},
		"odd version":      {"/v1.47.1/containers/create", "Content-Length: 2", "{}", "", "{}", `/v1.47.1/containers/create length=2 encoding=[] expect="" x="" {}`},
		"absolute":         {"HTTPS://d/v1/containers/create", "Content-Length: 2", "{}", "", "{}", `/v1/containers/create length=2 encoding=[] expect="" x="" {}`},
		"a service":        {"/services/create", "Content-Length: 6", "change", "service", "change", `/services/create length=16 encoding=[] expect="" x="" something longer`},
		"a service's":      {"/v1.47/services/a/update?version=1", "Content-Length: 2", "{}", "service", "{}", `/v1.47/services/a/update?version=1 length=2 encoding=[] expect="" x="" {}`},
	} {
		calls.Store(&asked{"not called", ""})
		send(t, c, "POST "+tc.target+" HTTP/1.1\r\nHost: d\r\n"+tc.head+"\r\n\r\n"+tc.body)
		res, body := readResponse(t, br, "POST")
		require.Equal(t, 200, res.StatusCode, name)
		require.Equal(t, tc.got, body, name)
		require.Equal(t, asked{tc.query, tc.seen}, *calls.Load(), name)
	}
	calls.Store(&asked{"not called", ""})
	for _, other := range []string{"/containers/create/x", "/containers/x/update", "/services/create/x", "/services/x/logs", "/vx/containers/create", "/volumes/create"} {
		send(t, c, "POST "+other+" HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nbad")
		res, _ := readResponse(t, br, "POST")
		require.Equal(t, 200, res.StatusCode, other)
	}
	require.Equal(t, "not called", calls.Load().query)
}

func TestCreateThatExpects100(t *testing.T) {
	for content, want := range map[string]struct {
		interim int // 100s after the first, which is ours
		body    string
	}{
		"passes": {1, `/containers/create length=6 encoding=[] expect="100-continue" x="" passes`},
		"change": {0, `/containers/create length=16 encoding=[] expect="" x="" something longer`},
	} {
		s, _, _ := judging(t)
		c := dial(t, s)
		br := bufio.NewReader(c)
		send(t, c, "POST /containers/create HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
		res, _ := readResponse(t, br, "POST")
		require.Equal(t, 100, res.StatusCode)
		send(t, c, content)
		for range want.interim {
			res, _ = readResponse(t, br, "POST")
			require.Equal(t, 100, res.StatusCode, "the engine's own")
		}
		res, body := readResponse(t, br, "POST")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, want.body, body)
	}
}

func TestRefusalLeavesTheConnectionUsable(t *testing.T) {
	s, engines, _ := judging(t)
	c := dial(t, s)
	br := bufio.NewReader(c)
	for _, tc := range []struct {
		head, body string
		status     int
		message    string
	}{
		{"Content-Length: 3", "bad", 400, "bind source /srv: invalid argument (add it to vm.mounts)"},
		{"Transfer-Encoding: chunked", "1\r\nb\r\n2\r\nad\r\n0\r\n\r\n", 400, "bind source /srv: invalid argument (add it to vm.mounts)"},
		{"Content-Length: 5", "amd64", 501, "linux/amd64: not supported here"},
	} {
		dials := engines.engine.dials.Load()
		send(t, c, "POST /containers/create HTTP/1.1\r\nHost: d\r\n"+tc.head+"\r\n\r\n"+tc.body)
		res, body := readResponse(t, br, "POST")
		require.Equal(t, tc.status, res.StatusCode)
		require.Equal(t, "application/json", res.Header.Get("Content-Type"))
		require.False(t, res.Close)
		require.JSONEq(t, `{"message":"`+tc.message+`"}`, body)
		require.Equal(t, dials, engines.engine.dials.Load(), "the engine hears nothing")
		// Two at once: what follows the refused one is not lost.
		send(t, c, "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nbadPOST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}")
		res, _ = readResponse(t, br, "POST")
		require.Equal(t, 400, res.StatusCode)
		res, body = readResponse(t, br, "POST")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, `/containers/create length=2 encoding=[] expect="" x="" {}`, body)
	}
}

func TestBodiesThatCannotBeJudgedAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		head, body string
		end        bool // the client ends its data
		status     int
		says       string
	}{
		"too long":               {fmt.Sprintf("Content-Length: %d", createLimit+1), `{"HostConfig":{}}`, false, 413, "too large"},
		"too long, expecting":    {fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d", createLimit+1), "", false, 413, "too large"},
		"chunked without end":    {"Transfer-Encoding: chunked", strings.Repeat("fff0\r\n"+strings.Repeat("z", 0xfff0)+"\r\n", createLimit/0xfff0+1), false, 413, "too large"},
		"ends early":             {"Content-Length: 20", `{"HostConfig":{}}`, true, 400, "ends early"},
		"ends between chunks":    {"Transfer-Encoding: chunked", "2\r\n{}\r\n", true, 400, "ends early"},
		"chunks with bare LF":    {"Transfer-Encoding: chunked", "2\n{}\n0\n\n", false, 400, "no plain form"},
		"a chunk without length": {"Transfer-Encoding: chunked", "\r\n{}\r\n0\r\n\r\n", false, 400, "no plain form"},
	} {
		t.Run(name, func(t *testing.T) {
			s, engines, calls := judging(t)
			c := dial(t, s)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = io.WriteString(c, "POST /containers/create HTTP/1.1\r\nHost: d\r\n"+tc.head+"\r\n\r\n"+tc.body)
				if tc.end {
					_ = c.CloseWrite()
				}
			}()
			br := bufio.NewReader(c)
			res, body := readResponse(t, br, "POST")
			<-sent
			require.Equal(t, tc.status, res.StatusCode, body)
			var answer struct{ Message string }
			require.NoError(t, json.Unmarshal([]byte(body), &answer))
			require.Contains(t, answer.Message, tc.says)
			require.True(t, res.Close, "what follows cannot be told from the body")
			requireEnd(t, br)
			require.Nil(t, calls.Load())
			require.Zero(t, engines.engine.dials.Load())
		})
	}
}

func TestAHookMayWaitForTheMachine(t *testing.T) {
	hook := make(chan error, 1)
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(echoPath))}
	s := serve(t, engines, Options{Wait: 50 * time.Millisecond, Create: func(ctx context.Context, _ url.Values, _ []byte) (domain.Role, []byte, error) {
		<-ctx.Done()
		hook <- context.Cause(ctx)
		return "", nil, fmt.Errorf("wait for the machine: %w", ctx.Err())
	}})
	c := dial(t, s)
	send(t, c, "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}")
	res, _ := readResponse(t, bufio.NewReader(c), "POST")
	require.Equal(t, 504, res.StatusCode)
	require.ErrorIs(t, <-hook, context.DeadlineExceeded)

	s = serve(t, engines, Options{Wait: time.Minute, Create: s.opts.Create})
	c = dial(t, s)
	send(t, c, "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}")
	require.NoError(t, c.Close())
	select {
	case err := <-hook:
		require.ErrorIs(t, err, errVanished)
	case <-time.After(5 * time.Second):
		t.Fatal("the hook outlived its client")
	}
}

func TestHeadForAnotherBody(t *testing.T) {
	for head, want := range map[string]string{
		"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 7\r\n\r\n":                                                        "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nnew",
		"POST / HTTP/1.1\nExpect: 100-continue\nTRANSFER-ENCODING: chunked\nHost: d\n\n":                                 "POST / HTTP/1.1\nHost: d\nContent-Length: 3\r\n\r\nnew",
		"POST /?Content-Length: HTTP/1.1\r\nX-Content-Length: 1\r\n\r\n":                                                 "POST /?Content-Length: HTTP/1.1\r\nX-Content-Length: 1\r\nContent-Length: 3\r\n\r\nnew",
		"POST / HTTP/1.1\r\nContent-length:  9 \r\nTrailer: Content-Length\r\nExpect: x\r\nTransfer-Encoding: y\r\n\r\n": "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nnew",
	} {
		require.Equal(t, want, string(withBody([]byte(head), []byte("new"))))
	}
	require.Equal(t, 413, statusOf(tooLarge()))
	require.False(t, errors.Is(tooLarge(), domain.ErrInvalid))
}
