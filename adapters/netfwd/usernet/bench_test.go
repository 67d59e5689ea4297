package usernet

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkThroughput moves data between two stacks over a socket pair; both
// ends' work is in the figure.
func BenchmarkThroughput(b *testing.B) {
	for _, f := range []struct {
		name    string
		framing Framing
	}{{"vhost-user", VhostUser}, {"datagram", Datagram}} {
		for _, mtu := range []int{1500, 65520} {
			change := func(c *Config) { c.MTU = mtu }
			run := func(direction string, ends func(r *rig) (from, to io.ReadWriteCloser)) {
				b.Run(fmt.Sprintf("%s/%d/%s", f.name, mtu, direction), func(b *testing.B) {
					from, to := ends(newRig(b, f.framing, change))
					buf := make([]byte, 128<<10)
					b.SetBytes(int64(len(buf)))
					b.ResetTimer()
					go func() {
						for range b.N {
							if _, err := from.Write(buf); err != nil {
								return
							}
						}
					}()
					if _, err := io.CopyN(io.Discard, to, int64(b.N*len(buf))); err != nil {
						b.Fatal(err)
					}
				})
			}
			run("guest-to-host", func(r *rig) (io.ReadWriteCloser, io.ReadWriteCloser) {
				g, h := r.outbound(b)
				return g, h
			})
			run("host-to-guest", func(r *rig) (io.ReadWriteCloser, io.ReadWriteCloser) {
				g, h := r.outbound(b)
				return h, g
			})
		}
	}
}

// BenchmarkConnect opens and closes outbound connections, one after another.
func BenchmarkConnect(b *testing.B) {
	r := newRig(b, VhostUser, nil)
	ln, p := listenHost(b, "127.0.0.1:0")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for b.Loop() {
		c, err := r.g.DialTCP(within(b, 10*time.Second), netip.AddrPortFrom(r.n.cfg.Gateway4, p))
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
