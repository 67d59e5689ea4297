package vz

import (
	"time"

	"arcbox/domain"
)

// Options configure a Hypervisor. Zero values take the defaults.
type Options struct {
	// Rosetta says which machine gets the share that translates amd64 programs;
	// nil for none.
	Rosetta func(domain.MachineName) bool
	// StopTimeout bounds one attempt to take a machine down (10 s), and the wait
	// for it when a start is given up.
	StopTimeout time.Duration
	// ConsoleLimit is the size, bytes, at which a console log is set aside as
	// <path>.1 and started anew (8 MiB).
	ConsoleLimit int64
}

func (o Options) withDefaults() Options {
	if o.Rosetta == nil {
		o.Rosetta = func(domain.MachineName) bool { return false }
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 10 * time.Second
	}
	if o.ConsoleLimit <= 0 {
		o.ConsoleLimit = 8 << 20
	}
	return o
}
