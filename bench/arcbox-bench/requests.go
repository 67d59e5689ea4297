package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// latency is what requests took, in milliseconds.
type latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// requests is how many are timed a kind; the 99th percentile is then the
// fourth slowest.
const requests = 400

// client has a new connection a request, or keeps one.
func client(socket string, keep bool) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// ask makes one request and reads the whole answer.
func ask(ctx context.Context, c *http.Client, method, path string, body io.Reader) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return n, err
	}
	if resp.StatusCode != http.StatusOK {
		return n, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return n, nil
}

// kinds are the requests that are compared.
func kinds() []string { return []string{"/_ping", "/containers/json"} }

func kindName(path string, keep bool) string {
	if keep {
		return "`GET " + path + "`, connection kept"
	}
	return "`GET " + path + "`, new connection"
}

// latencies times every kind at one socket.
func latencies(ctx context.Context, socket string) (map[string]latency, error) {
	out := map[string]latency{}
	for _, path := range kinds() {
		for _, keep := range []bool{false, true} {
			c := client(socket, keep)
			var times []float64
			for range requests {
				began := time.Now()
				if _, err := ask(ctx, c, http.MethodGet, path, nil); err != nil {
					return nil, err
				}
				times = append(times, float64(time.Since(began).Microseconds())/1000)
			}
			c.CloseIdleConnections()
			out[kindName(path, keep)] = latency{quantile(times, 0.5), quantile(times, 0.99)}
		}
	}
	return out, nil
}

// parallel sends count requests, width at once, and returns how long all took.
func parallel(ctx context.Context, socket, path string, count, width int) (time.Duration, error) {
	c := client(socket, false)
	began := time.Now()
	work, errs := make(chan struct{}, count), make(chan error, count)
	for range count {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for range work {
				if _, err := ask(ctx, c, http.MethodGet, path, nil); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(began), nil
	}
}

// overhead compares requests through the socket with the same program's at the
// engine's own socket in the guest, while the same container runs.
func overhead(ctx context.Context, b *bench) error {
	if err := b.insider(ctx); err != nil {
		return err
	}
	const rounds = 3
	type pair struct{ ours, peer []float64 }
	p50, p99 := map[string]*pair{}, map[string]*pair{}
	many := &pair{}
	for range rounds {
		ours, err := latencies(ctx, b.socket())
		if err != nil {
			return err
		}
		text, err := b.do(ctx, "docker", "exec", insider, "/bench", "inside", "latencies", "/docker.sock")
		if err != nil {
			return err
		}
		var peer map[string]latency
		if err := json.Unmarshal([]byte(text), &peer); err != nil {
			return err
		}
		for name := range ours {
			if p50[name] == nil {
				p50[name], p99[name] = &pair{}, &pair{}
			}
			p50[name].ours, p50[name].peer = append(p50[name].ours, ours[name].P50), append(p50[name].peer, peer[name].P50)
			p99[name].ours, p99[name].peer = append(p99[name].ours, ours[name].P99), append(p99[name].peer, peer[name].P99)
		}
		took, err := parallel(ctx, b.socket(), "/containers/json", 1000, 100)
		if err != nil {
			return err
		}
		many.ours = append(many.ours, took.Seconds())
		var in float64
		if in, err = b.insideNumber(ctx, "parallel", "/docker.sock"); err != nil {
			return err
		}
		many.peer = append(many.peer, in)
	}
	for _, path := range kinds() {
		for _, keep := range []bool{false, true} {
			name := kindName(path, keep)
			for _, q := range []struct {
				name string
				p    *pair
			}{{", p50", p50[name]}, {", p99", p99[name]}} {
				b.report.add(row{
					Figure: name + q.name, Unit: "ms", Value: median(q.p.ours), All: q.p.ours,
					PeerName: "in the guest", Peer: median(q.p.peer), PeerAll: q.p.peer,
				})
			}
		}
	}
	b.report.add(row{
		Figure: "1000 `GET /containers/json`, 100 at once", Unit: "s", Value: median(many.ours), All: many.ours,
		PeerName: "in the guest", Peer: median(many.peer), PeerAll: many.peer,
	})
	return nil
}

// insider is the container in which the peers of requests and transfers run.
const insider = "bench-inside"

// insider makes sure that its container runs, with this program in it.
func (b *bench) insider(ctx context.Context) error {
	if err := b.up(ctx); err != nil {
		return err
	}
	if _, err := b.do(ctx, "docker", "start", insider); err == nil {
		return nil // an earlier part made it
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"load", "-i", b.image("demo")},
		{"create", "--name", insider, "--pid", "host", "-v", "/var/run/docker.sock:/docker.sock", "-v", "/bulk", "arcbox/demo", "/bench", "inside", "wait"},
		{"cp", filepath.Clean(self), insider + ":/bench"},
		{"start", insider},
	} {
		if _, err := b.do(ctx, "docker", args...); err != nil {
			return err
		}
	}
	return nil
}

// insideNumber runs a part in the guest that prints a number.
func (b *bench) insideNumber(ctx context.Context, args ...string) (float64, error) {
	text, err := b.do(ctx, "docker", append([]string{"exec", insider, "/bench", "inside"}, args...)...)
	if err != nil {
		return 0, err
	}
	var v float64
	_, err = fmt.Sscan(text, &v)
	return v, err
}
