//go:build linux

// Package kmsg reads the kernel's messages.
package kmsg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// record is the longest record that the kernel hands out.
// Source: Linux, include/linux/printk.h, PRINTKRB_RECORD_MAX and its prefix.
const record = 8192

// Follow hands every kernel message, from the oldest that the kernel still
// has, to line, until ctx ends. It returns nil then.
func Follow(ctx context.Context, line func(string)) error {
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		return fmt.Errorf("kernel messages: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer func() {
		if stop() {
			_ = f.Close()
		}
	}()
	buf := make([]byte, record)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EPIPE):
			line("(older kernel messages were overwritten)")
		case err != nil:
			return fmt.Errorf("kernel messages: %w", err)
		default:
			if text, ok := Format(string(buf[:n])); ok {
				line(text)
			}
		}
	}
}

// Format turns one record of /dev/kmsg into a line as dmesg shows it. It
// reports false for what is not a record. Format of the file: Linux,
// Documentation/ABI/testing/dev-kmsg.
func Format(rec string) (string, bool) {
	head, text, ok := strings.Cut(rec, ";")
	if !ok {
		return "", false
	}
	fields := strings.Split(head, ",")
	if len(fields) < 3 {
		return "", false
	}
	micros, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil {
		return "", false
	}
	text, _, _ = strings.Cut(text, "\n") // what follows is a dictionary for machines
	return fmt.Sprintf("[%5d.%06d] %s", micros/1e6, micros%1e6, text), true
}
