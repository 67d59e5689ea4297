package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// latency is of requests with a new connection each, milliseconds.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

func client(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

func request(c *http.Client, path string) error {
	resp, err := c.Get("http://docker" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return nil
}

func measure(socket, path string, count int) (latency, error) {
	c := client(socket)
	times := make([]time.Duration, 0, count)
	for range count {
		began := time.Now()
		if err := request(c, path); err != nil {
			return latency{}, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	ms := func(q float64) float64 { return float64(times[int(q*float64(count-1))].Microseconds()) / 1000 }
	return latency{ms(0.5), ms(0.99)}, nil
}

// parallel sends count requests, width at once, and returns how long all took.
func parallel(socket, path string, count, width int) (time.Duration, error) {
	c := client(socket)
	began := time.Now()
	var wg sync.WaitGroup
	work, errs := make(chan struct{}, count), make(chan error, count)
	for range count {
		work <- struct{}{}
	}
	close(work)
	for range width {
		wg.Go(func() {
			for range work {
				if err := request(c, path); err != nil {
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

const requests = 300

// inside measures at the engine's own socket, and prints JSON: it runs in a
// container of the guest.
func inside(socket string) error {
	out := map[string]latency{}
	for _, path := range []string{"/_ping", "/containers/json"} {
		l, err := measure(socket, path, requests)
		if err != nil {
			return err
		}
		out[path] = l
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
