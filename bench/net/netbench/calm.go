//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A measurement waits for a moment in which others leave most of the machine
// alone, as long as the whole run has patience for that.
const (
	calmShare = 0.25 // of all processors, what others may use
	calmLook  = 200 * time.Millisecond
)

// busy is the processor time that the whole machine has used, in seconds.
// Source: proc(5), /proc/stat: user, nice, system, idle, iowait, irq, softirq;
// user includes the guests'.
func busy() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(text))
	if len(words) < 8 {
		return 0, errors.New("/proc/stat has no line for all processors")
	}
	sum := 0
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += n
	}
	return float64(sum) / ticks, nil
}

// calm returns when the machine is nearly idle, or when patience is used up.
func (b *bench) calm(ctx context.Context) error {
	for ctx.Err() == nil && b.patience > 0 {
		before, err := busy()
		if err != nil {
			return err
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(calmLook):
		}
		after, err := busy()
		if err != nil {
			return err
		}
		took := time.Since(began)
		if share(after-before, took) <= calmShare {
			return nil
		}
		b.patience -= took
	}
	return ctx.Err()
}

// share is what part of all processors cpu seconds in that time are.
func share(cpu float64, in time.Duration) float64 {
	return cpu / in.Seconds() / float64(runtime.NumCPU())
}
