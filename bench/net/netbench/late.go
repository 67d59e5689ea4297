//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// late measures how long after `docker run -d -p` returned the port answers
// first. A program in a container needs a moment of its own until it listens;
// guestpeer says for how long it has, so that the two can be told apart.
func late(ctx context.Context, b *bench) error {
	var never, refused int
	for i := range b.starts {
		l, err := b.arcbox.lateness(ctx)
		if err != nil {
			return fmt.Errorf("start %d: %w", i+1, err)
		}
		b.report.add("docker run -d -p, s", "", "arcbox", l.run.Seconds())
		b.report.add("first answer after its return, ms", "", "arcbox", 1e3*l.answer.Seconds())
		b.report.add("of that, while the program listened already, ms", "", "arcbox", 1e3*l.ours.Seconds())
		b.report.add("attempts that failed", "", "arcbox", float64(l.failed))
		if l.failed > 0 {
			never++
		}
		if l.refused {
			refused++
		}
	}
	n := float64(b.starts)
	b.report.atMost(fmt.Sprintf("starts of %d whose port was not open when docker run returned", b.starts), float64(refused), 0)
	b.report.atMost(fmt.Sprintf("starts of %d whose first attempt failed", b.starts), float64(never), 0)
	worst := 0.0
	for _, v := range b.report.figure("of that, while the program listened already, ms", "arcbox").All {
		worst = max(worst, v)
	}
	b.report.atMost("the longest that a port failed while the program listened, ms", worst, 0)
	progress("%d starts, %.0f %% answered at the first attempt", b.starts, 100*(n-float64(never))/n)
	return nil
}

type lateness struct {
	run, answer time.Duration
	// ours is the part of answer in which the program listened and an attempt
	// failed all the same.
	ours   time.Duration
	failed int
	// refused says that nobody listened on the host at the first attempt.
	refused bool
}

func (a *arcbox) lateness(ctx context.Context) (l lateness, err error) {
	port, err := freePort()
	if err != nil {
		return l, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	began := time.Now()
	id, err := a.do(ctx, "docker", "run", "-d", "-p", fmt.Sprintf("%s:%d", addr, guestPort), image, "serve", strconv.Itoa(guestPort))
	if err != nil {
		return l, err
	}
	returned := time.Now()
	l.run = returned.Sub(began)
	defer func() {
		if rm := a.discard(context.WithoutCancel(ctx), id); err == nil {
			err = rm
		}
	}()
	lastFailure := returned
	for {
		age, err := askForAge(addr, returned.Add(patience))
		now := time.Now()
		if err == nil {
			l.answer = now.Sub(returned)
			if listening := now.Add(-age); l.failed > 0 && lastFailure.After(listening) {
				l.ours = lastFailure.Sub(listening)
			}
			return l, nil
		}
		if l.failed == 0 {
			l.refused = strings.Contains(err.Error(), "refused")
		}
		l.failed++
		lastFailure = now
		if now.Sub(returned) > patience || ctx.Err() != nil {
			return l, fmt.Errorf("port %d never answered: %w", port, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// askForAge asks for how long the program has listened.
func askForAge(addr string, deadline time.Time) (time.Duration, error) {
	c, err := ask(addr, askAge, deadline)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	answer := make([]byte, 8)
	if _, err := io.ReadFull(c, answer); err != nil {
		return 0, err
	}
	return time.Duration(binary.BigEndian.Uint64(answer)), nil
}
