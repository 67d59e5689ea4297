package docker

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestRequestsThatPublishPorts(t *testing.T) {
	for target, want := range map[string]struct {
		starts    bool
		container string
	}{
		"/containers/web/start":                  {true, "web"},
		"/v1.51/containers/web/start?detachKeys": {true, "web"},
		"/v1.51/containers/0a1b/restart?t=3":     {true, "0a1b"},
		"/containers/a%2Db/start":                {true, "a-b"},
		"/containers/a%zz/start":                 {true, ""},
		"/networks/shop/connect":                 {true, ""},
		"/v1.40/networks/shop/disconnect":        {true, ""},
		"/containers/web/stop":                   {},
		"/containers/create":                     {},
		"/networks/create":                       {},
		"/exec/web/start":                        {},
		"/containers/web/exec/start":             {},
		"/images/x/start":                        {},
	} {
		e := classify("POST", target)
		require.Equal(t, want.starts, e.starts, target)
		require.Equal(t, want.container, e.container, target)
		require.False(t, classify("GET", target).starts, target)
	}
}

// waits is a port.Starts that knows who waits now.
type waits struct {
	mu  sync.Mutex
	now map[string]int
	all int
}

func (w *waits) Starting(role domain.Role, container string) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all++
	w.now[string(role)+" "+container]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now[string(role)+" "+container]-- // more often than once would show
	}
}

func (w *waits) waiting(who string) int { w.mu.Lock(); defer w.mu.Unlock(); return w.now[who] }

func TestAStartIsToldUntilItsAnswer(t *testing.T) {
	w := &waits{now: map[string]int{}}
	during := make(chan int, 1)
	body := make(chan struct{})
	engine := httpEngine(t, 1, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		during <- w.waiting("native web")
		rw.Header().Set("Content-Length", "2")
		rw.WriteHeader(http.StatusOK)
		rw.(http.Flusher).Flush()
		<-body
		_, _ = rw.Write([]byte("ok"))
	}))
	s := serve(t, &fakeEngines{engine: engine}, Options{Starts: w})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for range 2 {
		send(t, c, "POST /v1.51/containers/web/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
		require.Equal(t, 1, <-during, "before the engine has it")
		res, err := http.ReadResponse(br, nil)
		require.NoError(t, err)
		require.Zero(t, w.waiting("native web"), "the head is the answer")
		body <- struct{}{}
		require.NoError(t, res.Body.Close())
	}
	require.Equal(t, 2, w.all)
}

func TestAConnectionToANetworkNamesItsContainerInTheBody(t *testing.T) {
	w := &waits{now: map[string]int{}}
	during := make(chan [2]int, 1)
	engine := httpEngine(t, 1, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		during <- [2]int{w.waiting("native web"), w.waiting("native ")}
		rw.WriteHeader(http.StatusOK)
	}))
	c := dial(t, serve(t, &fakeEngines{engine: engine}, Options{Starts: w}))
	br := bufio.NewReader(c)
	for body, want := range map[string][2]int{`{"Container":"web"}`: {1, 0}, `{"Container":7}`: {0, 1}, ``: {0, 1}} {
		send(t, c, fmt.Sprintf("POST /v1.51/networks/shop/connect HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		require.Equal(t, want, <-during, body)
		readResponse(t, br, "POST")
	}
}

// A request that has the machine boot is no reason to fail the containers that
// the engine starts by itself before it answers anybody.
func TestAStartIsNotToldBeforeTheEngineIsThere(t *testing.T) {
	w := &waits{now: map[string]int{}}
	during := make(chan int, 1)
	engine := httpEngine(t, 1, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		during <- w.waiting("native web")
		rw.WriteHeader(http.StatusNoContent)
	}))
	booting := make(chan int, 1)
	boots := func(context.Context) (*fakeEngine, error) {
		booting <- w.waiting("native web")
		return engine, nil
	}
	s := serve(t, &fakeEngines{boot: boots}, Options{Starts: w})
	c := dial(t, s)
	send(t, c, "POST /containers/web/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	require.Zero(t, <-booting, "the engine's own containers start meanwhile")
	require.Equal(t, 1, <-during)
	res, _ := readResponse(t, bufio.NewReader(c), "POST")
	require.Equal(t, http.StatusNoContent, res.StatusCode)
	require.Zero(t, w.waiting("native web"))
}

func TestAStartThatIsNotAnsweredIsNotTold(t *testing.T) {
	w := &waits{now: map[string]int{}}
	boots := func(context.Context) (*fakeEngine, error) { return nil, domain.ErrNotRunning }
	s := serve(t, &fakeEngines{boot: boots}, Options{Starts: w})
	c := dial(t, s)
	send(t, c, "POST /containers/web/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	res, _ := readResponse(t, bufio.NewReader(c), "POST")
	require.GreaterOrEqual(t, res.StatusCode, 500)
	eventually(t, "the end of the start", func() bool { return w.waiting("native web") == 0 })

	stuck := make(chan struct{})
	arrived := make(chan struct{}, 1)
	engine := httpEngine(t, 1, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-stuck:
		}
	}))
	defer close(stuck)
	s = serve(t, &fakeEngines{engine: engine}, Options{Starts: w})
	c = dial(t, s)
	send(t, c, "POST /containers/web/restart HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	<-arrived
	require.Equal(t, 1, w.waiting("native web"))
	require.NoError(t, c.Close())
	eventually(t, "the end of a client that left", func() bool { return w.waiting("native web") == 0 })
}
