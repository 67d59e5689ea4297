package docker

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func captureLog(t *testing.T) (string, *slog.Logger) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f.Name(), slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func readHead(c io.Reader) {
	br := bufio.NewReaderSize(io.LimitReader(c, 1<<16), 16)
	for {
		if line, err := br.ReadString('\n'); err != nil || line == "\r\n" {
			return
		}
	}
}

// dying is an engine that takes a request and dies having said answer.
func dying(t *testing.T, answer string) *fakeEngine {
	e := rawEngine(t, 1, func(c *net.UnixConn) {
		readHead(c)
		_, _ = io.WriteString(c, answer)
	})
	return e
}

func TestEngineDiesBeforeAnswering(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		retried bool
	}{
		"GET is sent again":  {"GET /info HTTP/1.1\r\nHost: d\r\n\r\n", true},
		"HEAD is sent again": {"HEAD /info HTTP/1.1\r\nHost: d\r\n\r\n", true},
		"POST is not":        {"POST /containers/x/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n", false},
		"GET with a body":    {"GET /info HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhi", false},
		"DELETE is not":      {"DELETE /containers/x HTTP/1.1\r\nHost: d\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			engines := &fakeEngines{engine: dying(t, "")}
			next := httpEngine(t, 2, http.HandlerFunc(echoPath))
			engines.boot = func(context.Context) (*fakeEngine, error) { return next, nil }
			s := serve(t, engines, Options{})
			c := dial(t, s)
			first := engines.engine
			go func() {
				for first.dials.Load() == 0 {
					time.Sleep(time.Millisecond)
				}
				engines.set(nil)
			}()
			method := tc.request[:strings.IndexByte(tc.request, ' ')]
			send(t, c, tc.request)
			br := bufio.NewReader(c)
			res, body := readResponse(t, br, method)
			if tc.retried {
				require.Equal(t, 200, res.StatusCode)
				require.EqualValues(t, 1, next.dials.Load())
			} else {
				require.Equal(t, 503, res.StatusCode)
				require.Contains(t, body, "before it answered "+method)
				require.Zero(t, next.dials.Load())
			}
			// The connection is as good as new.
			if !res.Close {
				send(t, c, "GET /after HTTP/1.1\r\nHost: d\r\n\r\n")
				_, body = readResponse(t, br, "GET")
				require.Equal(t, "/after ", body)
			}
			eventually(t, "released", func() bool { return engines.held.Load() == 0 })
		})
	}
}

func TestEngineDiesTwice(t *testing.T) {
	engines := &fakeEngines{engine: dying(t, "")}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	send(t, c, "GET /info HTTP/1.1\r\nHost: d\r\n\r\n")
	res, body := readResponse(t, bufio.NewReader(c), "GET")
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, body, "before it answered GET /info")
	require.EqualValues(t, 2, engines.engine.dials.Load(), "one retry, not more")
}

func TestEngineDiesDuringUpload(t *testing.T) {
	engines := &fakeEngines{engine: dying(t, "")}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	go func() {
		_, _ = io.WriteString(c, "POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 4000000\r\n\r\n"+strings.Repeat("x", 4000000))
	}()
	br := bufio.NewReader(c)
	res, body := readResponse(t, br, "POST")
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, body, "before it answered POST /images/load")
	require.True(t, res.Close)
}

func TestEngineDiesInAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &fakeEngines{engine: dying(t, answer)}, Options{})
			res, err := httpClient(t, s.opts.Path).Get("http://docker/info")
			require.NoError(t, err)
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Equal(t, "half", string(b))
		})
	}
}

func TestMachineGoesUnderRequest(t *testing.T) {
	engines := &fakeEngines{engine: rawEngine(t, 1, func(c *net.UnixConn) { _, _ = io.Copy(io.Discard, c) })}
	engine := engines.engine
	s := serve(t, engines, Options{})
	c := dial(t, s)
	send(t, c, "POST /containers/x/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	eventually(t, "dialled", func() bool { return engine.dials.Load() == 1 })
	engines.set(nil)
	close(engine.gone)
	res, body := readResponse(t, bufio.NewReader(c), "POST")
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, body, "the virtual machine went away before it answered POST /containers/{}/wait")
}

func TestEngineRefusesConnection(t *testing.T) {
	engine := &fakeEngine{generation: 1, path: filepath.Join(t.TempDir(), "nobody"), gone: make(chan struct{})}
	engines := &fakeEngines{engine: engine}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	send(t, c, "POST /x HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
	res, body := readResponse(t, br, "POST")
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, body, "connect to the Docker engine")
	require.EqualValues(t, 2, engine.dials.Load())
	// What was not sent at all may be a POST and is tried again.
	next := httpEngine(t, 2, http.HandlerFunc(echoPath))
	go func() {
		for engine.dials.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		engines.set(next)
		close(engine.gone)
	}()
	send(t, c, "POST /y HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhi")
	res, body = readResponse(t, br, "POST")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "/y hi", body)
}

// TestEngineRestartsBetweenRequests: dockerd is new, the machine is not.
func TestEngineRestartsBetweenRequests(t *testing.T) {
	served := make(chan struct{}, 100)
	engines := &fakeEngines{engine: rawEngine(t, 1, func(c *net.UnixConn) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		served <- struct{}{}
	})}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for range 50 {
		send(t, c, "GET /x HTTP/1.1\r\nHost: d\r\n\r\n")
		res, body := readResponse(t, br, "GET")
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "ok", body)
		<-served
	}
}

func TestEngineEndsConnectionByRule(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(echoPath))}
	s := serve(t, engines, Options{})
	for _, request := range []string{
		"GET /x HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
		"GET /x HTTP/1.0\r\n\r\n",
	} {
		c := dial(t, s)
		br := bufio.NewReader(c)
		send(t, c, request)
		readResponse(t, br, "GET")
		requireEnd(t, br)
	}
}

// TestClientVanishesDuringQuietAttach: dockerd ends an attach that says
// nothing only when it sees a full close, which is not the end of input.
func TestClientVanishesDuringQuietAttach(t *testing.T) {
	for name, half := range map[string]bool{"open": false, "input ended before": true} {
		t.Run(name, func(t *testing.T) {
			eof, closed := make(chan struct{}), make(chan struct{})
			engine := rawEngine(t, 1, func(conn *net.UnixConn) {
				c, err := newClient(conn)
				if err != nil {
					return
				}
				readHead(c)
				_, _ = io.WriteString(c, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
				if !c.vanished() {
					close(eof)
				}
				_ = c.awaitVanishing()
				close(closed)
			})
			s := serve(t, &fakeEngines{engine: engine}, Options{})
			c := dial(t, s)
			send(t, c, "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			readHead(c)
			if half {
				require.NoError(t, c.CloseWrite())
				select {
				case <-eof:
				case <-time.After(time.Second):
					t.Fatal("the end of input did not arrive")
				}
			}
			select {
			case <-closed:
				t.Fatal("closed before the client was")
			case <-time.After(100 * time.Millisecond):
			}
			require.NoError(t, c.Close())
			select {
			case <-closed:
			case <-time.After(time.Second):
				t.Fatal("the engine was not told")
			}
		})
	}
}

// TestClientVanishesWhileEngineDoesNotRead: there is a write to the engine on
// its way that will never end.
func TestClientVanishesWhileEngineDoesNotRead(t *testing.T) {
	closed := make(chan struct{})
	engine := rawEngine(t, 1, func(conn *net.UnixConn) {
		c, err := newClient(conn)
		if err != nil {
			return
		}
		_ = c.awaitVanishing()
		close(closed)
	})
	s := serve(t, &fakeEngines{engine: engine}, Options{})
	c := dial(t, s)
	send(t, c, "POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 100000000\r\n\r\n")
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	_, err := c.Write(make([]byte, 10<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.Close())
	select {
	case <-closed:
	case <-time.After(3 * time.Second):
		t.Fatal("the engine was not told")
	}
}

func TestCloseDrainsThenAborts(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/idle" {
			return
		}
		entered <- struct{}{}
		select {
		case <-release:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	}))}
	for name, abort := range map[string]bool{"drains": false, "aborts": true} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(Options{Path: filepath.Join(t.TempDir(), "d.sock")}, engines)
			require.NoError(t, s.Listen())
			served := make(chan error, 1)
			go func() { served <- s.Serve(context.Background()) }()
			idle, busy := dial(t, s), dial(t, s)
			idleReader := bufio.NewReader(idle)
			send(t, idle, "GET /idle HTTP/1.1\r\nHost: d\r\n\r\n")
			readResponse(t, idleReader, "GET")
			send(t, busy, "GET /busy HTTP/1.1\r\nHost: d\r\n\r\n")
			<-entered
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			closed := make(chan error, 1)
			go func() { closed <- s.Close(ctx) }()
			require.NoError(t, <-served)
			requireEnd(t, idleReader)
			_, err := net.Dial("unix", s.opts.Path)
			require.Error(t, err, "no new clients")
			select {
			case <-closed:
				t.Fatal("did not wait")
			case <-time.After(50 * time.Millisecond):
			}
			if abort {
				cancel()
				require.ErrorIs(t, <-closed, context.Canceled)
				requireEnd(t, busy)
				return
			}
			release <- struct{}{}
			_, body := readResponse(t, bufio.NewReader(busy), "GET")
			require.Equal(t, "done", body)
			require.NoError(t, <-closed)
		})
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	engines := &fakeEngines{engine: rawEngine(t, 1, func(c *net.UnixConn) { _, _ = io.Copy(io.Discard, c) })}
	s := NewServer(Options{Path: filepath.Join(t.TempDir(), "d.sock")}, engines)
	require.NoError(t, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	c := dial(t, s)
	send(t, c, "GET /wait HTTP/1.1\r\nHost: d\r\n\r\n")
	eventually(t, "dialled", func() bool { return engines.engine.dials.Load() == 1 })
	cancel()
	require.NoError(t, <-served)
	requireEnd(t, c)
	require.Zero(t, s.Stats().ActiveConnections)
	require.NoError(t, s.Close(context.Background()))
	require.NoError(t, s.Serve(context.Background()), "after Close there is nothing to serve")
}
