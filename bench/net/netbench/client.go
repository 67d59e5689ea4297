//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What a connection is for; see guestpeer.
const (
	askEcho  = 'e'
	askDrain = 'd'
	askFlood = 's'
	askAge   = 'a'
)

const bufferSize = 128 << 10

// patience is how much longer than planned a measurement may take.
const patience = 30 * time.Second

// result is what one measurement found.
type result struct {
	Bytes   int64   `json:"bytes,omitempty"`
	Count   int     `json:"count,omitempty"`
	Failed  int     `json:"failed,omitempty"`
	Seconds float64 `json:"seconds"`
	// P50 and P99 are in seconds.
	P50 float64 `json:"p50,omitempty"`
	P99 float64 `json:"p99,omitempty"`
}

func (r result) mibPerSecond() float64 { return float64(r.Bytes) / (1 << 20) / r.Seconds }
func (r result) gib() float64          { return float64(r.Bytes) / (1 << 30) }
func (r result) perSecond() float64    { return float64(r.Count) / r.Seconds }

// client measures and writes a result as JSON. With -test hold it opens
// connections, says so in one line, and keeps them until its input ends.
func client(args []string) error {
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	to := flags.String("to", "", "address")
	test := flags.String("test", "", "up, down, rtt, connects or hold")
	span := flags.Duration("span", 2*time.Second, "how long to measure")
	conns := flags.Int("conns", 1, "connections at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var r result
	var err error
	switch *test {
	case "up":
		r, err = together(*conns, func() (int64, error) { return upload(*to, *span) })
	case "down":
		r, err = together(*conns, func() (int64, error) { return download(*to, *span) })
	case "rtt":
		r, err = pingPong(*to, *span)
	case "connects":
		r, err = connects(*to, *span)
	case "hold":
		return hold(*to, *conns)
	default:
		err = fmt.Errorf("no test %q", *test)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func dial(to string, deadline time.Time) (*net.TCPConn, error) {
	d := net.Dialer{Deadline: deadline}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(deadline)
}

// ask opens a connection for one purpose.
func ask(to string, what byte, deadline time.Time) (*net.TCPConn, error) {
	c, err := dial(to, deadline)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{what}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// together runs n transfers at once and adds up what they moved. The time is
// that of the whole, from the first connect on.
func together(n int, transfer func() (int64, error)) (result, error) {
	var total, failed atomic.Int64
	var wg sync.WaitGroup
	var last atomic.Value
	began := time.Now()
	for range n {
		wg.Go(func() {
			moved, err := transfer()
			total.Add(moved)
			if err != nil {
				failed.Add(1)
				last.Store(err)
			}
		})
	}
	wg.Wait()
	r := result{Bytes: total.Load(), Count: n, Failed: int(failed.Load()), Seconds: time.Since(began).Seconds()}
	if err, ok := last.Load().(error); ok && r.Failed == n {
		return r, err
	}
	return r, nil
}

// upload writes for a while; what counts is what the guest says it read.
func upload(to string, span time.Duration) (int64, error) {
	end := time.Now().Add(span)
	c, err := ask(to, askDrain, end.Add(patience))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	sent, buf := int64(0), make([]byte, bufferSize)
	for time.Now().Before(end) {
		n, err := c.Write(buf)
		sent += int64(n)
		if err != nil {
			return 0, err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	answer := make([]byte, 8)
	if _, err := io.ReadFull(c, answer); err != nil {
		return 0, fmt.Errorf("the guest's count: %w", err)
	}
	if got := int64(binary.BigEndian.Uint64(answer)); got != sent {
		return 0, fmt.Errorf("%d bytes were sent and %d arrived", sent, got)
	}
	return sent, nil
}

// download reads for a while what the guest sends without end.
func download(to string, span time.Duration) (int64, error) {
	end := time.Now().Add(span)
	c, err := ask(to, askFlood, end.Add(patience))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	got, buf := int64(0), make([]byte, bufferSize)
	for time.Now().Before(end) {
		n, err := c.Read(buf)
		got += int64(n)
		if err != nil {
			return got, err
		}
	}
	return got, nil
}

// pingPong sends one byte and waits for it, again and again.
func pingPong(to string, span time.Duration) (result, error) {
	end := time.Now().Add(span)
	c, err := dial(to, end.Add(patience))
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	var times []float64
	b := []byte{askEcho}
	began := time.Now()
	for last := began; last.Before(end); {
		if _, err := c.Write(b); err != nil {
			return result{}, err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return result{}, err
		}
		now := time.Now()
		times = append(times, now.Sub(last).Seconds())
		last = now
	}
	return timed(times, time.Since(began)), nil
}

// timed is the result of repeated acts, of which at least one was done.
func timed(times []float64, total time.Duration) result {
	return result{Count: len(times), Seconds: total.Seconds(), P50: quantile(times, 0.5), P99: quantile(times, 0.99)}
}

// connects opens a connection, has one byte echoed and closes it, one after
// the other.
func connects(to string, span time.Duration) (result, error) {
	began := time.Now()
	end := began.Add(span)
	var times []float64
	failed := 0
	for at := began; at.Before(end); at = time.Now() {
		if err := once(to, end.Add(patience)); err != nil {
			if failed++; failed > 100 {
				return result{}, fmt.Errorf("%d of %d connects: %w", failed, failed+len(times), err)
			}
			continue
		}
		times = append(times, time.Since(at).Seconds())
	}
	if len(times) == 0 {
		return result{}, errors.New("not one connection")
	}
	r := timed(times, time.Since(began))
	r.Failed = failed
	return r, nil
}

func once(to string, deadline time.Time) error {
	c, err := ask(to, askEcho, deadline)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

// hold opens n connections, each echoed once, so that they really are there.
func hold(to string, n int) error {
	deadline := time.Now().Add(5 * time.Minute)
	for i := range n {
		c, err := ask(to, askEcho, deadline)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return fmt.Errorf("echo of connection %d: %w", i+1, err)
		}
	}
	fmt.Println("open")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
