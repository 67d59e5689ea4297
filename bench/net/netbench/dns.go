//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"arcbox/adapters/dns"
	"arcbox/domain"
)

const (
	nameCount = 10_000
	dnsDomain = "arcbox.local"
)

// nameOf and addrOf are the table that both servers answer from.
func nameOf(i int) string { return fmt.Sprintf("container-%d", i) }

func addrOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)})
}

// table is the daemon's table of names, which nothing changes here.
type table struct{ domain.NameTable }

func newTable(n int) table {
	claims := map[string][]domain.NameClaim{}
	for i := range n {
		claims[strconv.Itoa(i)] = []domain.NameClaim{{Name: nameOf(i), Addr: addrOf(i)}}
	}
	return table{domain.NameTable{}.ReplaceAll(claims)}
}

// Lookup implements port.Names; its Reverse is the table's own.
func (t table) Lookup(name string) ([]netip.Addr, bool) {
	addrs := t.NameTable.Lookup(name)
	return addrs, len(addrs) > 0
}

// dnsServer is the daemon's server over the daemon's table of names, without
// the daemon: nobody runs ten thousand containers for a benchmark.
func dnsServer(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("dns-server: want one address")
	}
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	r, err := dns.New(dns.Options{View: dns.HostView(), Domain: dnsDomain, Names: newTable(nameCount)})
	if err != nil {
		return err
	}
	s, err := dns.NewServer(dns.ServerOptions{Addr: at, Resolver: r})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close(context.WithoutCancel(ctx))
}

// names compares the daemon's DNS server with dnsmasq.
func names(ctx context.Context, b *bench) error {
	var targets []*target
	defer func() {
		for _, t := range targets {
			t.stop()
		}
	}()
	for _, s := range []struct {
		name  string
		start func(int) (*process, error)
	}{
		{"arcbox", func(port int) (*process, error) {
			return b.start(nil, "dns-server", b.self, "dns-server", fmt.Sprintf("127.0.0.1:%d", port))
		}},
		{"dnsmasq", b.dnsmasq},
	} {
		t := &target{name: s.name}
		port, err := t.onLoopback()
		if err != nil {
			return err
		}
		p, err := s.start(port)
		if err != nil {
			progress("%s is absent: %v", s.name, err)
			b.report.Absent[s.name] = err.Error()
			continue
		}
		t.atStop(p.stop)
		targets = append(targets, t)
		t.network = p.pid()
		err = p.await(ctx, "an answer", 20*time.Second, func() bool {
			_, err := queries(t.addr, 1, 50*time.Millisecond)
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	for round := range b.rounds {
		for _, clients := range []int{1, 32} {
			for i := range targets {
				if err := b.ask(ctx, targets[(i+round)%len(targets)], clients); err != nil {
					return err
				}
			}
		}
	}
	for _, clients := range []int{1, 32} {
		if ratio, ok := b.report.ratio(dnsRate(clients), "arcbox", "dnsmasq"); ok {
			b.report.atLeast(dnsRate(clients)+", arcbox / dnsmasq", ratio, 1)
		}
	}
	return nil
}

func dnsRate(clients int) string { return fmt.Sprintf("queries per second, %d at once", clients) }

func (b *bench) dnsmasq(port int) (*process, error) {
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		return nil, err
	}
	var table strings.Builder
	for i := range nameCount {
		fmt.Fprintf(&table, "%s %s.%s\n", addrOf(i), nameOf(i), dnsDomain)
	}
	hosts := filepath.Join(b.dir, "dnsmasq.hosts")
	if err := os.WriteFile(hosts, []byte(table.String()), 0o644); err != nil {
		return nil, err
	}
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--addn-hosts=" + hosts,
		"--local=/" + dnsDomain + "/", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=" + strconv.Itoa(port),
		"--cache-size=10000", "--log-facility=-", "--pid-file="}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root") // otherwise it becomes nobody, who cannot read the table
	}
	return b.start(nil, "dnsmasq", program, args...)
}

// ask measures one server from a process of its own.
func (b *bench) ask(ctx context.Context, t *target, clients int) error {
	if err := b.calm(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.span+patience)
	defer cancel()
	before, err := cpu(t.network)
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, b.self, "dns-client", t.addr, strconv.Itoa(clients), b.span.String())
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("ask %s: %w: %s", t.name, err, stderr.String())
	}
	after, err := cpu(t.network)
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		return err
	}
	memory, err := rss(t.network)
	if err != nil {
		return err
	}
	suffix := fmt.Sprintf(", %d at once", clients)
	b.report.add(dnsRate(clients), "", t.name, r.perSecond())
	b.report.add("p50, ms"+suffix, "", t.name, 1e3*r.P50)
	b.report.add("p99, ms"+suffix, "", t.name, 1e3*r.P99)
	b.report.add("CPU µs per query"+suffix, "", t.name, 1e6*(after-before)/float64(r.Count))
	b.report.add("RSS, MiB", "", t.name, memory/1024)
	b.report.add("queries without an answer", "", t.name, float64(r.Failed))
	return nil
}

// dnsClient is `dns-client ADDRESS CLIENTS SPAN`.
func dnsClient(args []string) error {
	if len(args) != 3 {
		return errors.New("dns-client: want an address, a number and a duration")
	}
	clients, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	span, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	r, err := queries(args[0], clients, span)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// queries asks for names by chance, each client one at a time over UDP, and
// checks every answer.
func queries(addr string, clients int, span time.Duration) (result, error) {
	var mu sync.Mutex
	var all []float64
	var wg sync.WaitGroup
	var lost int
	var failed error
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			times, missing, err := asks(addr, uint64(i), began.Add(span))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			lost += missing
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed == nil && len(all) == 0 {
		failed = fmt.Errorf("%s answers nothing", addr)
	}
	r := timed(all, time.Since(began))
	r.Failed = lost
	return r, failed
}

// asks is one client. Queries are packed in advance, so that it measures the
// server and not itself.
func asks(addr string, seed uint64, end time.Time) (times []float64, lost int, err error) {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	random := rand.New(rand.NewPCG(seed, 1))
	const prepared = 1000
	var packed [prepared][]byte
	var want [prepared]netip.Addr
	for i := range packed {
		n := random.IntN(nameCount)
		m := new(mdns.Msg).SetQuestion(nameOf(n)+"."+dnsDomain+".", mdns.TypeA)
		m.Id = uint16(i)
		if packed[i], err = m.Pack(); err != nil {
			return nil, 0, err
		}
		want[i] = addrOf(n)
	}
	buf := make([]byte, 1500)
	for i := 0; ; i = (i + 1) % prepared {
		at := time.Now()
		if !at.Before(end) {
			return times, lost, nil
		}
		if err := c.SetDeadline(at.Add(time.Second)); err != nil {
			return times, lost, err
		}
		if _, err := c.Write(packed[i]); err != nil {
			return times, lost, err
		}
		n, err := c.Read(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			lost++
			continue
		}
		if err != nil {
			return times, lost, err
		}
		times = append(times, time.Since(at).Seconds())
		// An A record's address is the answer's end, unless there are more records.
		if got, ok := netip.AddrFromSlice(buf[max(0, n-4):n]); !ok || got != want[i] {
			return times, lost, fmt.Errorf("%s: answer %d is %s and not %s", addr, i, got, want[i])
		}
	}
}
