package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// engineTimes are the seconds of processor time, by name, that the guest's
// processes of these names have used; it runs in a container that sees them.
func engineTimes() (map[string]float64, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	times := map[string]float64{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			continue // it has ended
		}
		stat, err := statFields(pid)
		if err != nil {
			continue
		}
		switch name := strings.TrimSpace(string(name)); {
		case pid == 1:
			times["agent"] += float64(stat[11]+stat[12]) / ticks
		case name == "dockerd", name == "containerd":
			times[name] += float64(stat[11]+stat[12]) / ticks
		}
	}
	return times, nil
}

// hashRate is how many MiB of SHA-256 this processor makes a second.
func hashRate() float64 {
	const size = 16 << 20
	data := make([]byte, 1<<20)
	sum := sha256.New()
	began := time.Now()
	for range size / len(data) {
		sum.Write(data)
	}
	return float64(size>>20) / time.Since(began).Seconds()
}

// guestTimes asks for the engine's processor time.
func (b *bench) guestTimes(ctx context.Context) (map[string]float64, error) {
	text, err := b.do(ctx, "docker", "exec", insider, "/bench", "inside", "times")
	if err != nil {
		return nil, err
	}
	var times map[string]float64
	return times, json.Unmarshal([]byte(text), &times)
}

// workOf is who worked during f, in seconds of processor time: the guest's
// agent, dockerd and containerd, and the daemon on the host.
func (b *bench) workOf(ctx context.Context, f func() error) (map[string]float64, error) {
	pid, err := b.daemonPID(ctx)
	if err != nil {
		return nil, err
	}
	hostBefore, err := look(pid)
	if err != nil {
		return nil, err
	}
	before, err := b.guestTimes(ctx)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	after, err := b.guestTimes(ctx)
	if err != nil {
		return nil, err
	}
	hostAfter, err := look(pid)
	if err != nil {
		return nil, err
	}
	work := map[string]float64{"the daemon on the host": (hostAfter.cpu - hostBefore.cpu).Seconds()}
	for name, t := range after {
		work[name+" in the guest"] = t - before[name]
	}
	return work, nil
}
