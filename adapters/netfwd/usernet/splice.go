package usernet

import (
	"context"
	"io"
	"net"
	"sync"
)

// HalfCloser is a connection whose two directions end separately.
type HalfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Splice copies both ways between a and b, which it owns, until both have
// ended. An end of data is passed on as an end of data, a failure as a reset;
// Close of the network resets both.
func (n *Network) Splice(a, b HalfCloser) {
	if guest, ok := a.(*Conn); ok {
		if host, ok := b.(KernelConn); ok {
			n.Carry(n.life, guest, host, new(Moved))
			return
		}
	}
	stop := context.AfterFunc(n.life, func() { reset(a); reset(b) })
	defer stop()
	half := func(dst, src HalfCloser) {
		if err := n.copyHalf(dst, src); err != nil {
			reset(a)
			reset(b)
			return
		}
		_ = dst.CloseWrite() // fails when dst is down, which the other half learns by itself
	}
	var wg sync.WaitGroup
	wg.Go(func() { half(a, b) })
	half(b, a)
	wg.Wait()
	a.Close()
	b.Close()
}

// reset closes c in a way that its peer sees as a failure.
func reset(c HalfCloser) {
	switch c := c.(type) {
	case *Conn:
		c.Abort()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		c.Close()
	default:
		c.Close()
	}
}

// idleBuffer is what a direction holds while nothing moves in it. Most
// connections of a machine are idle, and a large buffer for each would be most
// of the daemon's memory.
const idleBuffer = 4 << 10

// copyHalf copies src to dst until src ends.
func (n *Network) copyHalf(dst io.Writer, src io.Reader) error {
	small := make([]byte, idleBuffer)
	buf := small
	var large *[]byte
	defer func() {
		if large != nil {
			n.pools.copies.Put(large)
		}
	}()
	for {
		k, err := src.Read(buf)
		if k > 0 {
			if _, werr := dst.Write(buf[:k]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case large == nil && k == idleBuffer:
			large = take(&n.pools.copies, copyBuffer)
			buf = *large
		case large != nil && k < idleBuffer:
			n.pools.copies.Put(large)
			large, buf = nil, small
		}
	}
}
