package docker

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEngineComesAndGoes kills engines under load, at any point of any
// request. A client gets its own answer, an error that says so, or a broken
// connection; never another request's answer, nor half of one as if it were
// whole.
func TestEngineComesAndGoes(t *testing.T) {
	engines := &fakeEngines{}
	dir := t.TempDir()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		out := fmt.Sprintf("%s %s", r.URL.Path, b)
		_, _ = io.WriteString(w, out[:len(out)/2])
		if rand.IntN(4) == 0 {
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(w, out[len(out)/2:])
	})
	var generation atomic.Uint64
	up := func() (*fakeEngine, *http.Server, chan struct{}) {
		g := generation.Add(1)
		e := &fakeEngine{generation: g, path: filepath.Join(dir, fmt.Sprint(g)), gone: make(chan struct{})}
		l, err := net.Listen("unix", e.path)
		if err != nil {
			t.Error(err)
		}
		srv, done := &http.Server{Handler: handler}, make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(l) }()
		return e, srv, done
	}
	next := make(chan *fakeEngine)
	engines.boot = func(ctx context.Context) (*fakeEngine, error) {
		select {
		case e := <-next:
			return e, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := serve(t, engines, Options{Wait: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var machine, clients sync.WaitGroup
	machine.Go(func() {
		for ctx.Err() == nil {
			e, srv, done := up()
			engines.set(e)
			alive := time.After(time.Duration(2+rand.IntN(20)) * time.Millisecond)
			for waiting := true; waiting; {
				select {
				case next <- e:
				case <-alive:
					waiting = false
				}
			}
			if rand.IntN(2) == 0 { // known before or after it happens
				engines.set(nil)
			}
			_ = srv.Close()
			<-done
			engines.set(nil)
			close(e.gone)
		}
	})
	var answered, refused, broken atomic.Int64
	client := httpClient(t, s.opts.Path)
	for w := range 12 {
		clients.Go(func() {
			for i := range 80 {
				path, method, content := fmt.Sprintf("/%d/%d/%s", w, i, strings.Repeat("p", rand.IntN(3000))), "GET", ""
				if i%2 == 0 {
					method, content = "POST", strings.Repeat("x", rand.IntN(100_000))
				}
				req, _ := http.NewRequest(method, "http://docker"+path, strings.NewReader(content))
				res, err := client.Do(req)
				if err != nil {
					broken.Add(1)
					continue
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				switch {
				case err != nil:
					broken.Add(1)
				case res.StatusCode == 200 && string(b) == path+" "+content:
					answered.Add(1)
				case res.StatusCode >= 500 && strings.HasPrefix(string(b), `{"message":`):
					refused.Add(1)
				default:
					t.Errorf("%s %.20s: status %d, %.100q", method, path, res.StatusCode, b)
				}
			}
		})
	}
	clients.Wait()
	cancel()
	machine.Wait()
	t.Logf("answered %d, refused %d, broken %d", answered.Load(), refused.Load(), broken.Load())
	require.Positive(t, answered.Load())
	require.Positive(t, refused.Load()+broken.Load(), "or nothing was put to the test")
	client.CloseIdleConnections()
	eventually(t, "released", func() bool { return engines.held.Load() == 0 })
}
