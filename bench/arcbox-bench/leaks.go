package main

import (
	"context"
	"time"
)

const (
	leakRequests = 10000
	leakWidth    = 50
)

// leaks compares a daemon before and after 10,000 requests, and after as many
// again: what grows once is a buffer or a thread that stays for the next burst,
// what grows twice is a leak.
func leaks(ctx context.Context, b *bench) error {
	if _, err := b.do(ctx, "arcbox", "daemon", "stop"); err != nil {
		return err
	}
	if err := b.up(ctx); err != nil {
		return err
	}
	pid, err := b.daemonPID(ctx)
	if err != nil {
		return err
	}
	// The device gives up the guest's pages within 20 s of quiet; Go collects an
	// idle heap every 2 minutes, and empties its pools in the second collection.
	const soon, later = 30 * time.Second, 5 * time.Minute
	if err := pause(ctx, soon); err != nil {
		return err
	}
	before, err := look(pid)
	if err != nil {
		return err
	}
	burst := func(wait time.Duration) (process, error) {
		took, err := parallel(ctx, b.socket(), "/_ping", leakRequests, leakWidth)
		if err != nil {
			return process{}, err
		}
		b.report.value("10,000 `GET /_ping`, 50 at once, a connection each", "s", took.Seconds())
		if err := pause(ctx, wait); err != nil {
			return process{}, err
		}
		return look(pid)
	}
	first, err := burst(soon)
	if err != nil {
		return err
	}
	second, err := burst(soon)
	if err != nil {
		return err
	}
	if err := pause(ctx, later-soon); err != nil {
		return err
	}
	settled, err := look(pid)
	if err != nil {
		return err
	}
	was, is, err := goroutines(ctx, b, "/_ping", leakRequests, leakWidth)
	if err != nil {
		return err
	}
	compare := func(what, unit string, before, after float64, at *goal) {
		b.report.add(row{Figure: what, Unit: unit, Value: after, PeerName: "before", Peer: before, Goal: at})
	}
	compare("after 10,000 requests: goroutines of the server, in this program", "", float64(was), float64(is), &goal{AtMost: float64(was)})
	compare("after 10,000 requests: descriptors", "", float64(before.descriptors), float64(first.descriptors), &goal{AtMost: float64(before.descriptors)})
	compare("after 10,000 requests: threads", "", float64(before.threads), float64(first.threads), nil)
	compare("after 10,000 more: threads", "", float64(first.threads), float64(second.threads), nil)
	const noise = 5 // MB; a heap is never the same twice
	compare("after 10,000 requests: RSS, "+soon.String()+" later", "MB", before.rss, first.rss, nil)
	compare("after 10,000 more: RSS, "+soon.String()+" later", "MB", before.rss, second.rss, nil)
	compare("after 10,000 more: RSS, "+later.String()+" later", "MB", before.rss, settled.rss, &goal{AtMost: before.rss + noise})
	b.memory("before 10,000 requests", before)
	b.memory("after 10,000 requests, "+soon.String()+" later", first)
	b.memory("after 10,000 more, "+soon.String()+" later", second)
	b.memory("after 10,000 more, "+later.String()+" later", settled)
	return nil
}
