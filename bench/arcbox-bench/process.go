package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// process is what the kernel tells of a process. Memory is in MB of 10^6 bytes.
type process struct {
	rss, own, file, shared float64 // shared is the guest's memory, which QEMU has mapped as well
	cpu                    time.Duration
	descriptors, threads   int
}

const ticks = 100 // a second, what /proc counts in on Linux (USER_HZ)

// daemonPID asks the daemon who it is.
func (b *bench) daemonPID(ctx context.Context) (int, error) {
	text, err := b.do(ctx, "arcbox", "daemon", "status", "--format", "json")
	if err != nil {
		return 0, err
	}
	var st struct{ PID int }
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		return 0, fmt.Errorf("status %q: %w", text, err)
	}
	return st.PID, nil
}

// qemuPID is the process of the run that the daemon logged last.
func (b *bench) qemuPID() (int, error) {
	events, err := b.events()
	if err != nil {
		return 0, err
	}
	pid := 0
	for _, e := range events {
		if e.Msg == "machine runs" {
			pid = e.PID
		}
	}
	if pid == 0 {
		return 0, fmt.Errorf("the daemon logged no run of a machine")
	}
	return pid, nil
}

func look(pid int) (process, error) {
	var p process
	stat, err := statFields(pid)
	if err != nil {
		return p, err
	}
	p.cpu = time.Duration(stat[11]+stat[12]) * time.Second / ticks
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")) // other lines are not numbers
		mb := float64(n) * 1024 / 1e6
		switch key {
		case "VmRSS":
			p.rss = mb
		case "RssAnon":
			p.own = mb
		case "RssFile":
			p.file = mb
		case "RssShmem":
			p.shared = mb
		case "Threads":
			p.threads = n
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	p.descriptors = len(fds)
	return p, err
}

// statFields are the numbers of /proc/<pid>/stat from the fourth on, which has
// index 1: utime is 11, stime 12, starttime 19. Source: proc(5).
func statFields(pid int) ([]int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(rest)
	if len(words) < 20 {
		return nil, fmt.Errorf("stat of process %d: %q", pid, text)
	}
	numbers := make([]int64, 20)
	for i := 1; i < 20; i++ {
		if numbers[i], err = strconv.ParseInt(words[i], 10, 64); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// startTime is when a process was made, to 10 ms.
func startTime(pid int) (time.Time, error) {
	stat, err := statFields(pid)
	if err != nil {
		return time.Time{}, err
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	var up float64
	if _, err := fmt.Sscan(string(text), &up); err != nil {
		return time.Time{}, err
	}
	age := time.Duration(up*float64(time.Second)) - time.Duration(stat[19])*time.Second/ticks
	return time.Now().Add(-age), nil
}
