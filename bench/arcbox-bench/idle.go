package main

import (
	"context"
	"time"
)

// idle watches daemon and QEMU for a minute in which nobody asks anything.
func idle(ctx context.Context, b *bench) error {
	if err := b.up(ctx); err != nil {
		return err
	}
	pid, err := b.daemonPID(ctx)
	if err != nil {
		return err
	}
	qemu, err := b.qemuPID()
	if err != nil {
		return err
	}
	// What the engine does after its start is not idling.
	if err := pause(ctx, 15*time.Second); err != nil {
		return err
	}
	const watched = time.Minute
	var cpu [2]time.Duration
	for i, p := range []int{pid, qemu} {
		before, err := look(p)
		if err != nil {
			return err
		}
		cpu[i] = before.cpu
	}
	if err := pause(ctx, watched); err != nil {
		return err
	}
	daemon, err := look(pid)
	if err != nil {
		return err
	}
	machine, err := look(qemu)
	if err != nil {
		return err
	}
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / watched.Seconds() }
	b.report.add(row{Figure: "idle minute: the daemon's CPU", Unit: "% of a core", Value: share(daemon.cpu - cpu[0]), Goal: &goal{AtMost: 0.2}})
	b.report.add(row{Figure: "idle: the daemon's RSS", Unit: "MB", Value: daemon.rss, Goal: &goal{AtMost: 40}})
	b.memory("idle", daemon)
	b.report.value("idle minute: QEMU's CPU", "% of a core", share(machine.cpu-cpu[1]))
	b.report.value("idle: QEMU's RSS", "MB", machine.rss)
	return nil
}

// memory splits the daemon's RSS.
func (b *bench) memory(when string, p process) {
	b.report.value(when+": of it the daemon's own", "MB", p.own)
	b.report.value(when+": of it the program's file", "MB", p.file)
	b.report.value(when+": of it the guest's memory, which is QEMU's", "MB", p.shared)
}
