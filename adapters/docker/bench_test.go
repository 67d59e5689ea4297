package docker

import (
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkRequest compares a small request made directly and through the
// socket, on kept and on new connections: p50-ns/op is the median.
func BenchmarkRequest(b *testing.B) {
	engine := httpEngine(b, 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	s := serve(b, &fakeEngines{engine: engine}, Options{})
	for _, bc := range []struct{ name, path string }{{"direct", engine.path}, {"through", s.opts.Path}} {
		for _, fresh := range []bool{false, true} {
			name := bc.name + "/kept"
			if fresh {
				name = bc.name + "/new"
			}
			b.Run(name, func(b *testing.B) {
				client := httpClient(b, bc.path)
				times := make([]time.Duration, 0, b.N)
				for b.Loop() {
					req, err := http.NewRequest("GET", "http://docker/v1.47/info", nil)
					require.NoError(b, err)
					req.Close = fresh
					start := time.Now()
					res, err := client.Do(req)
					require.NoError(b, err)
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					times = append(times, time.Since(start))
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns/op")
			})
		}
	}
}

func BenchmarkThroughput(b *testing.B) {
	engine := rawEngine(b, 1, func(c *net.UnixConn) {
		readHead(c)
		_, _ = io.WriteString(c, "HTTP/1.1 101 UPGRADED\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
		_ = c.CloseWrite()
	})
	s := serve(b, &fakeEngines{engine: engine}, Options{})
	c := dial(b, s)
	require.NoError(b, c.SetDeadline(time.Time{}))
	send(b, c, "POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	readHead(c)
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		_, err := c.Write(p)
		require.NoError(b, err)
	}
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}
