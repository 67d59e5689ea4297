package netfwd

import (
	"context"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"arcbox/domain"
)

// memoryConn is a container's end without a socket, so that what is measured
// is the way there.
type memoryConn struct {
	net.Conn
	read, write func([]byte) (int, error)
	once        sync.Once
	closed      chan struct{}
}

func (c *memoryConn) Read(b []byte) (int, error)  { return c.read(b) }
func (c *memoryConn) Write(b []byte) (int, error) { return c.write(b) }
func (c *memoryConn) CloseWrite() error           { return nil }
func (c *memoryConn) Close() error                { c.once.Do(func() { close(c.closed) }); return nil }

// sink takes everything and says nothing, source sends for ever.
func sink(context.Context, string) (net.Conn, error) {
	c := &memoryConn{closed: make(chan struct{}), write: func(b []byte) (int, error) { return len(b), nil }}
	c.read = func([]byte) (int, error) { <-c.closed; return 0, io.EOF }
	return c, nil
}

func source(context.Context, string) (net.Conn, error) {
	c := &memoryConn{closed: make(chan struct{}), write: func(b []byte) (int, error) { return len(b), nil }}
	c.read = func(b []byte) (int, error) {
		select {
		case <-c.closed:
			return 0, io.EOF
		default:
			return len(b), nil
		}
	}
	return c, nil
}

// BenchmarkForwardThroughput moves data between a client and a container; the
// work of both and of the fake guest is in the figure.
func BenchmarkForwardThroughput(b *testing.B) {
	const block = 128 << 10
	run := func(name string, container func(context.Context, string) (net.Conn, error), move func(c *net.TCPConn, total int64) error) {
		b.Run(name, func(b *testing.B) {
			r := newForwardRig(b, forwardLimits{})
			r.contain("tcp", container4, container)
			_, host := r.forward(b, domain.TCP, "127.0.0.1", container4)
			c := dialHost(b, host)
			c.SetDeadline(time.Time{})
			b.SetBytes(block)
			b.ResetTimer()
			if err := move(c, int64(b.N)*block); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			resetTCP(c)
		})
	}
	run("to-container", sink, func(c *net.TCPConn, total int64) error {
		buf := make([]byte, block)
		for ; total > 0; total -= block {
			if _, err := c.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
	run("from-container", source, func(c *net.TCPConn, total int64) error {
		buf := make([]byte, block)
		for total > 0 {
			k, err := c.Read(buf)
			if err != nil {
				return err
			}
			total -= int64(k)
		}
		return nil
	})
}

// BenchmarkForwardRTT bounces one byte off a container.
func BenchmarkForwardRTT(b *testing.B) {
	r := newForwardRig(b, forwardLimits{})
	r.serve(b, container4, echoTCP)
	_, host := r.forward(b, domain.TCP, "127.0.0.1", container4)
	c := dialHost(b, host)
	c.SetDeadline(time.Time{})
	buf := make([]byte, 1)
	times := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		start := time.Now()
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
	c.Close()
}

// BenchmarkForwardUDP bounces a datagram off a container.
func BenchmarkForwardUDP(b *testing.B) {
	r := newForwardRig(b, forwardLimits{})
	r.echoUDP(b, container4)
	_, host := r.forward(b, domain.UDP, "127.0.0.1", container4)
	c := dialUDP(b, host)
	buf := make([]byte, 1000)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkForwardConnect connects, bounces a byte and closes, one after another.
func BenchmarkForwardConnect(b *testing.B) {
	r := newForwardRig(b, forwardLimits{})
	r.serve(b, container4, echoTCP)
	_, host := r.forward(b, domain.TCP, "127.0.0.1", container4)
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", host.String())
		if err != nil {
			b.Fatal(err)
		}
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		resetTCP(c.(*net.TCPConn))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
}

// BenchmarkForwardIdleConnection says what a connection that is open costs in
// memory. The fake guest's half, its server and the client are in the figure.
func BenchmarkForwardIdleConnection(b *testing.B) {
	const many = 500
	for range b.N {
		r := newForwardRig(b, forwardLimits{})
		r.serve(b, container4, echoTCP)
		_, host := r.forward(b, domain.TCP, "127.0.0.1", container4)
		inUse := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapInuse + m.StackInuse
		}
		before := inUse()
		for range many {
			requireEcho(b, dialHost(b, host), []byte("hello"))
		}
		runtime.GC()
		b.ReportMetric(float64(inUse()-before)/many, "B/conn")
	}
}
