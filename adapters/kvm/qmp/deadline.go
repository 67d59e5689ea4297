package qmp

import (
	"strings"
	"time"
)

// Limits are the longest waits for a reply by class of command. They allow for
// an emulated machine on a busy host, whose main loop is slow to turn.
type Limits struct {
	Quick time.Duration // commands that only look or flip a state
	Block time.Duration // commands that open, close or plug host resources
	Heavy time.Duration // commands that move much of the machine's state
}

// DefaultLimits returns the limits that are used where none are given.
func DefaultLimits() Limits {
	return Limits{Quick: 2 * time.Second, Block: 10 * time.Second, Heavy: 30 * time.Second}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	if l.Quick <= 0 {
		l.Quick = d.Quick
	}
	if l.Block <= 0 {
		l.Block = d.Block
	}
	if l.Heavy <= 0 {
		l.Heavy = d.Heavy
	}
	return l
}

// For returns the limit of the named command.
func (l Limits) For(command string) time.Duration {
	switch command {
	case "migrate", "migrate-incoming", "savevm", "loadvm", "dump-guest-memory", "human-monitor-command", "stop":
		return l.Heavy
	case "cont", "add_client", "getfd", "eject", "change":
		return l.Block
	}
	for _, prefix := range []string{"snapshot-", "x-snapshot-"} {
		if strings.HasPrefix(command, prefix) {
			return l.Heavy
		}
	}
	for _, prefix := range []string{"block", "device_", "netdev_", "object-", "chardev-", "nbd-", "drive-"} {
		if strings.HasPrefix(command, prefix) {
			return l.Block
		}
	}
	return l.Quick
}
