package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// process is what the kernel tells of the daemon.
type process struct {
	rss         float64 // MB
	cpu         time.Duration
	descriptors int
}

const ticks = 100 // a second, what /proc counts in on Linux

func (b *bench) daemon() (process, error) {
	text, err := b.do("arcbox", "daemon", "status", "--format", "json")
	if err != nil {
		return process{}, err
	}
	var st struct{ PID int }
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		return process{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", st.PID))
	if err != nil {
		return process{}, err
	}
	// After the name in parentheses: state is field 3, utime 14, stime 15, rss 24 (pages). Source: proc(5).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var user, system, pages int64
	for i, p := range map[int]*int64{11: &user, 12: &system, 21: &pages} {
		if _, err := fmt.Sscan(fields[i], p); err != nil {
			return process{}, err
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.PID))
	if err != nil {
		return process{}, err
	}
	return process{rss: float64(pages*int64(os.Getpagesize())/100_000) / 10, cpu: time.Duration(user+system) * time.Second / ticks, descriptors: len(fds)}, nil
}
