//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// counts are the steps of both kinds of scale.
func counts() []int { return []int{1, 10, 100, 500} }

// connections measures many connections to one published port: what they carry
// together, and what each costs the daemon while it is idle and while it is not.
func connections(ctx context.Context, b *bench) error {
	t, err := b.arcbox.publish(ctx, b, false)
	if err != nil {
		return err
	}
	defer t.stop()
	for round := range b.rounds {
		for _, n := range counts() {
			of := fmt.Sprintf("%d at once", n)
			before, err := rss(t.network)
			if err != nil {
				return err
			}
			err = b.holding(ctx, t, n, func() error {
				held, err := rss(t.network)
				b.report.add("RSS of the daemon, idle connections, MiB", "", of, held/1024)
				b.report.add("growth of the daemon's RSS per idle connection, KiB", "", of, (held-before)/float64(n))
				return err
			})
			if err != nil {
				return err
			}
			for _, test := range []string{"up", "down"} {
				what := map[string]string{"up": up, "down": down}[test]
				o, most, err := b.watched(ctx, t, "-test", test, "-conns", strconv.Itoa(n))
				if err != nil {
					return err
				}
				b.report.add(what, "", of, o.mibPerSecond())
				b.report.add(what[:strings.Index(what, ",")]+", RSS of the daemon at most, MiB", "", of, most/1024)
				b.report.add("connections that failed", "", of, float64(o.Failed))
			}
		}
		progress("round %d of %d, load %s", round+1, b.rounds, load())
	}
	return nil
}

// watched is client, watching the network process's memory.
func (b *bench) watched(ctx context.Context, t *target, args ...string) (outcome, float64, error) {
	done, most := make(chan struct{}), make(chan float64)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		highest := 0.0
		for {
			select {
			case <-done:
				most <- highest
				return
			case <-tick.C:
				if now, err := rss(t.network); err == nil {
					highest = max(highest, now)
				}
			}
		}
	}()
	o, err := b.client(ctx, t, args...)
	close(done)
	return o, <-most, err
}

// publishedPorts measures containers with many published ports.
func publishedPorts(ctx context.Context, b *bench) error {
	const inside = 7000 // the container's first port
	// With hundreds of ports a start takes most of a minute on an emulated
	// machine: fewer rounds.
	for round := range max(1, b.rounds/2) {
		for _, n := range append([]int{0}, counts()...) {
			if err := b.publishMany(ctx, n, inside); err != nil {
				return fmt.Errorf("%d ports: %w", n, err)
			}
			progress("round %d: %d ports, load %s", round+1, n, load())
		}
	}
	return nil
}

func (b *bench) publishMany(ctx context.Context, n, inside int) (err error) {
	of := fmt.Sprintf("%d ports", n)
	a := b.arcbox
	before, err := rss(a.daemon)
	if err != nil {
		return err
	}
	args := []string{"run", "-d"}
	first := 0
	if n > 0 {
		if first, err = freeRange(n); err != nil {
			return err
		}
		args = append(args, "-p", fmt.Sprintf("127.0.0.1:%d-%d:%d-%d", first, first+n-1, inside, inside+n-1))
	}
	began := time.Now()
	id, err := a.do(ctx, "docker", append(args, image, "serve", fmt.Sprintf("%d-%d", inside, inside+max(n, 1)-1))...)
	if err != nil {
		return err
	}
	b.report.add("docker run, s", "", of, time.Since(began).Seconds())
	defer func() {
		began := time.Now()
		err = errors.Join(err, a.discard(context.WithoutCancel(ctx), id))
		b.report.add("docker rm -f, s", "", of, time.Since(began).Seconds())
	}()
	after, err := rss(a.daemon)
	if err != nil {
		return err
	}
	b.report.add("RSS of the daemon, MiB", "", of, after/1024)
	b.report.add("growth of it, MiB", "", of, (after-before)/1024)
	text, err := a.do(ctx, "docker", "run", "--rm", "--privileged", "--pid", "host", image, "memory", "arcbox-proxy")
	if err != nil {
		return err
	}
	var proxies struct {
		Processes int     `json:"processes"`
		PSS       float64 `json:"pss_kib"`
		RSS       float64 `json:"rss_kib"`
	}
	if err := json.Unmarshal([]byte(text), &proxies); err != nil {
		return fmt.Errorf("memory of the proxies %q: %w", text, err)
	}
	b.report.add("proxies in the guest", "", of, float64(proxies.Processes))
	b.report.add("their memory (PSS), MiB", "", of, proxies.PSS/1024)
	if n == 0 {
		return nil
	}
	// The last port is as fast as the only one.
	t := &target{name: of, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(first+n-1)), network: a.daemon, qemu: a.qemu}
	if err := b.answers(ctx, t); err != nil {
		return err
	}
	for _, test := range []string{"up", "down"} {
		o, err := b.client(ctx, t, "-test", test)
		if err != nil {
			return err
		}
		b.report.add(map[string]string{"up": up, "down": down}[test], "", of, o.mibPerSecond())
	}
	return nil
}

// freeRange finds n neighbouring ports of the loopback address that nobody
// listens on, below those that the kernel gives to clients.
func freeRange(n int) (int, error) {
	for first := 20000; first+n < 32000; first += n {
		free := true
		for p := first; p < first+n && free; p++ {
			l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d neighbouring ports are free", n)
}
