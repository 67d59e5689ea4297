package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"arcbox/application/port"
)

const (
	spliceBuffer = 64 << 10
	// lookForPeer is how often a side that has ended its data is asked whether
	// it is still there.
	lookForPeer = time.Second
)

// splice copies between a and b, which it owns, until both directions have
// ended, a side is gone or ctx ends. A side's end of data is passed on as just
// that; a side that is closed as a whole closes the other one as a whole. A side
// that does not read holds the other one back.
func splice(ctx context.Context, a, b port.Stream) {
	over := make(chan struct{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			close(over)
			_ = a.Close()
			_ = b.Close()
		})
	}
	stop := context.AfterFunc(ctx, end)
	defer stop()
	ended := make(chan struct{}, 2)
	var running sync.WaitGroup
	for _, d := range [][2]port.Stream{{a, b}, {b, a}} {
		running.Go(func() {
			good := pass(d[0], d[1])
			ended <- struct{}{}
			// Its peer may still vanish while the other direction goes on.
			if !good || awaitGone(d[0], over) {
				end()
			}
		})
	}
	<-ended
	<-ended
	end()
	running.Wait()
}

// pass copies src to dst until src's data ends, and passes the end on. It is
// false when src broke off.
func pass(src, dst port.Stream) bool {
	buf := make([]byte, spliceBuffer)
	for deaf := false; ; {
		n, err := src.Read(buf)
		if n > 0 && !deaf {
			// A dst that does not read any more may still have something to say,
			// and src's end is seen by reading on only.
			_, werr := dst.Write(buf[:n])
			deaf = werr != nil
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = dst.CloseWrite() // one that is broken shows it to its own reader
			return true
		case err != nil:
			return false
		}
	}
}

// awaitGone waits until c, whose data has ended, is gone as a whole; it is false
// when all is over before.
func awaitGone(c port.Stream, over <-chan struct{}) bool {
	look := time.NewTicker(lookForPeer)
	defer look.Stop()
	for !gone(c) {
		select {
		case <-over:
			return false
		case <-look.C:
		}
	}
	return true
}

// gone says whether the peer of c reads no more: a write of nothing sends
// nothing, but fails then. It waits for a write that is under way.
func gone(c port.Stream) bool {
	_, err := c.Write(nil)
	return err != nil
}
