package domain

// MiB is an amount of memory or disk in mebibytes.
type MiB uint64

// Bytes returns the amount in bytes.
func (m MiB) Bytes() uint64 { return uint64(m) << 20 }

// GiB is an amount of disk in gibibytes.
type GiB uint64

// Bytes returns the amount in bytes.
func (g GiB) Bytes() uint64 { return uint64(g) << 30 }
