package docker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBytesPassUnchanged sends odd but legal requests and compares what the
// engine read, and what the client read, byte for byte.
func TestBytesPassUnchanged(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20<<10)
	for name, tc := range map[string]struct{ request, response string }{
		"get":              {"GET /v1.45/containers/json?all=1&filters=%7B%7D HTTP/1.1\r\nhost: docker\r\nX-Registry-Auth: aGk=\r\nUSER-agent:x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"},
		"unknown method":   {"FROB /any/thing HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 Nope\r\ncontent-length:0\r\n\r\n"},
		"big body":         {"PUT /containers/x/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: " + fmt.Sprint(len(big)) + "\r\n\r\n" + big, "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(big)) + "\r\n\r\n" + big},
		"chunked":          {"POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		"bare line feeds":  {"GET /info HTTP/1.1\nHost: d\n\n", "HTTP/1.1 204 No Content\n\n"},
		"no content":       {"DELETE /containers/x HTTP/1.1\r\nHost: d\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		"until close":      {"GET /containers/x/logs HTTP/1.1\r\nHost: d\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nraw bytes"},
		"not HTTP":         {"\x16\x03\x01 anything at all \r\n\r\n and more", "\x15\x03\x03 whatever"},
		"ambiguous length": {"POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n"},
		"huge head":        {"GET /x HTTP/1.1\r\nX-Registry-Config: " + big + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"long head":        {"GET /x HTTP/1.1\r\nX-Registry-Config: " + big[:50<<10] + "\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Long: " + big[:50<<10] + "\r\nContent-Length: 0\r\n\r\n"},
		"strange response": {"GET /x HTTP/1.1\r\nHost: d\r\n\r\n", "ICY 200 OK\r\n\r\nmusic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			engine := rawEngine(t, 1, func(c *net.UnixConn) {
				b := make([]byte, len(tc.request))
				n, _ := io.ReadFull(c, b)
				got <- string(b[:n])
				for p := []byte(tc.response); len(p) > 0; {
					k := min(len(p), 1+rand.IntN(len(p)))
					_, _ = c.Write(p[:k])
					p = p[k:]
				}
				_ = c.CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
			s := serve(t, &fakeEngines{engine: engine}, Options{})
			c := dial(t, s)
			for p := []byte(tc.request); len(p) > 0; {
				k := min(len(p), 1+rand.IntN(len(p)))
				_, err := c.Write(p[:k])
				require.NoError(t, err)
				p = p[k:]
			}
			require.Equal(t, tc.request, <-got)
			b := make([]byte, len(tc.response))
			_, err := io.ReadFull(c, b)
			require.NoError(t, err)
			require.Equal(t, tc.response, string(b))
			_ = c.CloseWrite()
			requireEnd(t, c)
		})
	}
}

// hijack is dockerd's attach: it answers 101, echoes until the end of input,
// says so, and ends its side without closing.
func hijack(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if r.Header.Get("Upgrade") != "" {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
	} else {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
	}
	h := sha256.New()
	n, _ := io.Copy(io.MultiWriter(conn, h), rw)
	fmt.Fprintf(conn, "|%d %x", n, h.Sum(nil))
	_ = conn.(*net.UnixConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

func TestHijack(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(hijack))}
	s := serve(t, engines, Options{})
	input := bytes.Repeat([]byte("stdin "), 60_000)
	want := fmt.Sprintf("%s|%d %x", input, len(input), sha256.Sum256(input))
	for name, tc := range map[string]struct {
		head  string
		early bool
	}{
		"upgrade tcp":          {"POST /containers/x/attach?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", false},
		"upgrade with body":    {"POST /exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}", false},
		"websocket":            {"GET /containers/x/attach/ws HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n", false},
		"raw stream":           {"POST /containers/x/attach HTTP/1.1\r\nHost: d\r\n\r\n", false},
		"input before the 101": {"POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s)
			br := bufio.NewReader(c)
			send(t, c, tc.head)
			head := func() {
				for {
					line, err := br.ReadString('\n')
					require.NoError(t, err)
					if line == "\r\n" {
						return
					}
				}
			}
			if !tc.early {
				head()
				require.EqualValues(t, 1, engines.held.Load(), "an attach holds the machine")
			}
			go func() {
				_, _ = c.Write(input)
				_ = c.CloseWrite()
			}()
			if tc.early {
				head()
			}
			out, err := io.ReadAll(br)
			require.NoError(t, err)
			require.Equal(t, want, string(out), "output is complete after the end of input")
			_ = c.Close()
			eventually(t, "released", func() bool { return engines.held.Load() == 0 })
		})
	}
}

// TestDeclinedUpgrade: the connection is an ordinary one afterwards.
func TestDeclinedUpgrade(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.Method, http.StatusConflict)
	}))}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	for range 3 {
		send(t, c, "POST /containers/x/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		res, body := readResponse(t, br, "POST")
		require.Equal(t, 409, res.StatusCode)
		require.Equal(t, "POST\n", body)
		eventually(t, "released", func() bool { return engines.held.Load() == 0 })
	}
	require.EqualValues(t, 1, engines.engine.dials.Load(), "keep-alive reaches the engine")
}

func TestHTTP2PriorKnowledge(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, r.Proto)
	}))}
	s := serve(t, engines, Options{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.opts.Path)
	}}
	defer tr.CloseIdleConnections()
	for range 3 {
		res, err := (&http.Client{Transport: tr}).Post("http://docker/grpc", "x", strings.NewReader("hello "))
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, "hello HTTP/2.0", string(b))
	}
	require.EqualValues(t, 1, engines.held.Load())
}

func TestStreamingBothWays(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.WriteHeader(200)
		_ = rc.Flush()
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				return
			}
			_, _ = w.Write(b)
			_ = rc.Flush()
		}
	}))}
	s := serve(t, engines, Options{})
	pr, pw := io.Pipe()
	req, err := http.NewRequest("POST", "http://docker/build", pr)
	require.NoError(t, err)
	res, err := httpClient(t, s.opts.Path).Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	for i := range 100 {
		_, err := pw.Write([]byte{byte(i)})
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = io.ReadFull(res.Body, b)
		require.NoError(t, err)
		require.Equal(t, byte(i), b[0], "each byte comes back before the next is sent")
	}
	_ = pw.Close()
	requireEnd(t, res.Body)
}

func TestExpectContinue(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	br := bufio.NewReader(c)
	send(t, c, "POST /build HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	res, _ := readResponse(t, br, "POST")
	require.Equal(t, 100, res.StatusCode)
	send(t, c, "hello")
	_, body := readResponse(t, br, "POST")
	require.Equal(t, "hello", body)
	send(t, c, "POST /refuse HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	res, _ = readResponse(t, br, "POST")
	require.Equal(t, 403, res.StatusCode, "without a 100 before it")
}

// TestEarlyRefusalOfUpload: the engine answers and closes while the client
// still sends.
func TestEarlyRefusalOfUpload(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no space left", http.StatusInsufficientStorage)
	}))}
	s := serve(t, engines, Options{})
	for range 20 {
		c := dial(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.WriteString(c, "POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
			chunk := "8000\r\n" + strings.Repeat("x", 0x8000) + "\r\n"
			for range 200 {
				if _, err := io.WriteString(c, chunk); err != nil {
					return
				}
			}
		}()
		res, body := readResponse(t, bufio.NewReader(c), "POST")
		require.Equal(t, http.StatusInsufficientStorage, res.StatusCode)
		require.Equal(t, "no space left\n", body)
		_ = c.Close()
		<-done
	}
}

func TestPipelining(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		time.Sleep(time.Duration(rand.IntN(2)) * time.Millisecond)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	}))}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "POST /p/%d HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\n\r\n%03d", i, i)
	}
	go func() {
		_, _ = io.WriteString(c, b.String())
		_ = c.CloseWrite()
	}()
	br := bufio.NewReader(c)
	for i := range 200 {
		_, body := readResponse(t, br, "POST")
		require.Equal(t, fmt.Sprintf("/p/%d %03d", i, i), body)
	}
	requireEnd(t, br)
}

// TestEarlyEndOfData: net/http cancels a request whose client ended its data,
// so the engine must see it exactly when the client does it.
func TestEarlyEndOfData(t *testing.T) {
	cancelled := make(chan struct{}, 1)
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			cancelled <- struct{}{}
		case <-time.After(3 * time.Second):
		}
	}))}
	s := serve(t, engines, Options{})
	c := dial(t, s)
	send(t, c, "GET /containers/x/wait HTTP/1.1\r\nHost: d\r\n\r\n")
	select {
	case <-cancelled:
		t.Fatal("nobody ended anything")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, c.CloseWrite())
	select {
	case <-cancelled:
	case <-time.After(time.Second):
		t.Fatal("the engine did not see the end of data")
	}
}

// TestParallelHalfClose is 500 connections at once, each half-closed by its
// client, which leave nothing behind.
func TestParallelHalfClose(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(hijack))}
	s := serve(t, engines, Options{})
	before := openFiles(t)
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.opts.Path, Net: "unix"})
			if err != nil {
				t.Errorf("dial %d: %v", i, err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(c, "POST /exec/x/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			msg := strings.Repeat(fmt.Sprintf("%d,", i), 5000)
			_, _ = io.WriteString(c, msg)
			_ = c.CloseWrite()
			out, err := io.ReadAll(c)
			want := fmt.Sprintf("\r\n\r\n%s|%d %x", msg, len(msg), sha256.Sum256([]byte(msg)))
			if err != nil || !strings.HasSuffix(string(out), want) {
				t.Errorf("connection %d: %v, %d bytes of at least %d", i, err, len(out), len(want))
			}
		})
	}
	wg.Wait()
	eventually(t, "no descriptor stays", func() bool { return openFiles(t) <= before })
	eventually(t, "released", func() bool { return engines.held.Load() == 0 })
}

func TestTenThousandRequests(t *testing.T) {
	engines := &fakeEngines{engine: httpEngine(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	}))}
	s := serve(t, engines, Options{})
	before := openFiles(t)
	client := httpClient(t, s.opts.Path)
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := range 500 {
				path := fmt.Sprintf("/v1.47/r/%d/%d", w, i)
				req, _ := http.NewRequest("POST", "http://docker"+path, strings.NewReader(path))
				req.Close = i%10 == 0
				res, err := client.Do(req)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || string(b) != path+" "+path {
					t.Errorf("%s: %q %v", path, b, err)
				}
			}
		})
	}
	wg.Wait()
	client.CloseIdleConnections()
	eventually(t, "no descriptor stays", func() bool { return openFiles(t) <= before })
	require.EqualValues(t, 10_000, s.Stats().Requests)
	eventually(t, "released", func() bool { return engines.held.Load() == 0 })
}
