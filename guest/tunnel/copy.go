//go:build linux

package tunnel

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// bufferSize is one read; vsock carries packets of up to 64 KiB.
const bufferSize = 64 << 10

// Join copies between a and b until both directions have ended or one side is
// gone, and closes both. The end of one side's data is passed on as just that,
// so the other direction goes on; a side that is closed as a whole closes the
// other side as a whole, even when no data flows that would show it. dockerd
// needs both: an attached client that has ended its input still reads, and
// one that has gone must be noticed.
func Join(a, b Conn) {
	var once sync.Once
	closeBoth := func() {
		once.Do(func() {
			_ = a.Close()
			_ = b.Close()
		})
	}
	defer closeBoth()
	ended := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for _, d := range [][2]Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			if !pass(d[0], d[1]) {
				closeBoth()
			}
			ended <- struct{}{}
			// Its peer may still vanish while the other direction goes on.
			if awaitGone(d[0]) {
				closeBoth()
			}
		})
	}
	<-ended
	<-ended
	closeBoth() // ends the watches
	wg.Wait()
}

// pass copies src to dst until src's data ends, and passes the end on. It is
// false when src broke off.
func pass(src, dst Conn) bool {
	buf := make([]byte, bufferSize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				// dst does not read any more, but may still have something to
				// say. src is read on, because that is how its end is seen.
				_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{src}, buf)
				return err == nil
			}
		}
		if errors.Is(err, io.EOF) {
			// After a full close there is nobody left to pass data to.
			if gone(src) {
				return false
			}
			_ = dst.CloseWrite() // a broken dst shows itself to its own reader
			return true
		}
		if err != nil {
			return false
		}
	}
}

// gone reports whether the peer of c has closed its connection as a whole.
func gone(c Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	is := false
	if err := raw.Control(func(fd uintptr) { is = peerGone(int(fd)) }); err != nil {
		return true
	}
	return is
}

// awaitGone waits until the peer of c, whose data has ended, has closed its
// connection as a whole; it is false when c was closed on this side.
func awaitGone(c Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool { return peerGone(int(fd)) }) == nil
}

// peerGone asks the kernel by a write of no bytes. It sends nothing, and fails
// when the peer reads no more: that is the one sign of a full close that Unix
// sockets, TCP after a reset, and vsock (where no hang-up is reported to poll)
// have in common.
func peerGone(fd int) bool {
	_, err := unix.SendmsgN(fd, nil, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return err != nil && err != unix.EAGAIN && err != unix.EINTR
}
