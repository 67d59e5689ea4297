package share

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// BenchmarkRequests is the time of this process for one request of each kind.
func BenchmarkRequests(b *testing.B) {
	dir := b.TempDir()
	put(b, "content", dir, "d", "f")
	g, _ := mounted(b, Options{Cache: DefaultCache(), Log: slog.New(slog.DiscardHandler)}, nil, domain.Share{Path: dir})
	d, f := g.walk("0", "d"), g.walk("0", "d", "f")
	o, errno := g.open(opOpen, f, unix.O_RDWR)
	require.Zero(b, errno)
	for _, c := range []struct {
		name string
		do   func() unix.Errno
	}{
		{"getattr", func() unix.Errno { return second(g.getattr(f)) }},
		{"lookup", func() unix.Errno { return second(g.lookup(d, "f")) }},
		{"missing", func() unix.Errno { _, _ = g.lookup(d, "none"); return 0 }},
		{"open-release", func() unix.Errno {
			o, errno := g.open(opOpen, f, unix.O_RDONLY)
			g.release(opRelease, f, o.Fh)
			return errno
		}},
		{"read-4k", func() unix.Errno { return second(g.read(f, o.Fh, 0, 4096)) }},
		{"read-128k", func() unix.Errno { return second(g.read(f, o.Fh, 0, 128<<10)) }},
		{"write-7", func() unix.Errno { return second(g.write(f, o.Fh, 0, unix.O_RDWR, "content")) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				require.Zero(b, c.do())
			}
		})
	}
}
