//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
)

// Figures of the part forward.
const (
	up       = "host to container, MiB/s"
	down     = "container to host, MiB/s"
	rttP50   = "round trip p50, ms"
	rttP99   = "round trip p99, ms"
	rate     = "connections per second"
	connP99  = "connection p99, ms"
	netUp    = "CPU s per GiB, host to container, network process"
	netDown  = "CPU s per GiB, container to host, network process"
	qemuUp   = "CPU s per GiB, host to container, QEMU"
	qemuDown = "CPU s per GiB, container to host, QEMU"
	others   = "share of the machine that others used, %"
)

// Lima's forwarder on such a machine (QEMU with TCG, two cores), measured
// earlier and not in this run.
const (
	limaMiB   = 9.0  // MiB/s
	limaRTT   = 6.0  // ms
	limaConns = 45.0 // a second
	limaTimes = 10.0 // how many times better ArcBox is to be
)

// forward compares ArcBox's published port with every peer. All guests run at
// once and are idle unless measured, so that the figures of one round lie
// seconds apart.
func forward(ctx context.Context, b *bench) error {
	var targets []*target
	defer func() {
		for _, t := range targets {
			t.stop()
		}
	}()
	for _, host := range []bool{false, true} {
		name := arcboxName(host)
		t, err := b.arcbox.publish(ctx, b, host)
		if err != nil {
			progress("%s is absent: %v", name, err)
			b.report.Absent[name] = err.Error()
			continue
		}
		targets = append(targets, t)
	}
	for _, p := range peers() {
		if !slices.Contains(b.peers, p.name) {
			continue
		}
		progress("starting %s: %s", p.name, p.note)
		t, err := b.startPeer(ctx, p)
		if err != nil {
			progress("%s is absent: %v", p.name, err)
			b.report.Absent[p.name] = err.Error()
			continue
		}
		targets = append(targets, t)
	}
	b.report.first = []string{up, down, rttP50, rttP99, rate, connP99, netUp, qemuUp, netDown, qemuDown}
	for round := range b.rounds {
		for _, test := range []string{"up", "down", "rtt", "connects"} {
			for i := range targets {
				// Another one is first each round.
				t := targets[(i+round)%len(targets)]
				if err := b.compare(ctx, t, test); err != nil {
					return fmt.Errorf("round %d: %w", round+1, err)
				}
			}
		}
		progress("round %d of %d, load %s", round+1, b.rounds, load())
	}
	forwardGoals(b.report)
	return nil
}

func (b *bench) compare(ctx context.Context, t *target, test string) error {
	o, err := b.client(ctx, t, "-test", test)
	if err != nil {
		return err
	}
	b.report.add(others, "", t.name, 100*o.others)
	switch test {
	case "up":
		b.report.add(up, "", t.name, o.mibPerSecond())
		b.report.add(netUp, "", t.name, o.network/o.gib())
		b.report.add(qemuUp, "", t.name, o.qemu/o.gib())
	case "down":
		b.report.add(down, "", t.name, o.mibPerSecond())
		b.report.add(netDown, "", t.name, o.network/o.gib())
		b.report.add(qemuDown, "", t.name, o.qemu/o.gib())
	case "rtt":
		b.report.add(rttP50, "", t.name, 1e3*o.P50)
		b.report.add(rttP99, "", t.name, 1e3*o.P99)
	case "connects":
		b.report.add(rate, "", t.name, o.perSecond())
		b.report.add(connP99, "", t.name, 1e3*o.P99)
		b.report.add("connections that failed", "", t.name, float64(o.Failed))
	}
	return nil
}

// forwardGoals says which goals are met. Better is more for throughput and
// connections, and less for round trips.
func forwardGoals(r *report) {
	const us = "arcbox"
	against := func(what, peer string, more bool, bound float64) {
		ratio, ok := r.ratio(what, us, peer)
		switch {
		case !ok:
		case more:
			r.atLeast(what+", arcbox / "+peer, ratio, bound)
		default:
			r.atMost(what+", arcbox / "+peer, ratio, bound)
		}
	}
	for _, p := range peers() {
		if p.name == "usernet" {
			continue // a part of ArcBox
		}
		throughput, rest := 1.0, 1.0
		if !p.userMode {
			throughput, rest = 0.7, 0.85
		}
		against(up, p.name, true, throughput)
		against(down, p.name, true, throughput)
		against(rttP50, p.name, false, 2-rest)
		against(rttP99, p.name, false, 2-rest)
		against(rate, p.name, true, rest)
	}
	lima := func(what string, more bool, bound float64) {
		f := r.figure(what, us)
		switch {
		case f == nil:
		case more:
			r.atLeast(what+", against Lima's forwarder as measured earlier", f.median(), bound)
		default:
			r.atMost(what+", against Lima's forwarder as measured earlier", f.median(), bound)
		}
	}
	lima(up, true, limaMiB*limaTimes)
	lima(down, true, limaMiB*limaTimes)
	lima(rttP50, false, limaRTT/limaTimes)
	lima(rate, true, limaConns*limaTimes)
}
