package usernet

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// firstRead is what a connection's first bytes get, largeRead what those of
	// a busy one do: the stack clears the memory before it is read into.
	firstRead = 4 << 10
	largeRead = 256 << 10
)

// payload hands the bytes that wait in a socket to the stack. The stack must
// get exactly the length that was promised, hence measure.
type payload struct {
	fd   int
	want int // the most that is read at once
	left int // of what measure found
	// short: that was all there was.
	short bool
	end   bool
	err   error
}

// measure finds out how much can be read now. False with neither end nor err
// means nothing, and that the socket tells when there is.
func (p *payload) measure() bool {
	if p.left > 0 { // the stack had no room for it
		return true
	}
	k := 0
	if p.short {
		p.short = false // there is nothing more, most likely, or the end: one call tells
	} else if k = p.waiting(); p.err != nil {
		return false
	}
	if k == 0 {
		if p.peek() <= 0 {
			return false
		}
		k = max(1, p.waiting()) // urgent data is in the way of the rest, and does not count
	}
	p.short = k <= p.want
	if k >= p.want {
		p.want = min(2*p.want, largeRead)
	}
	p.left = min(k, p.want)
	return true
}

// waiting returns how many bytes can be read; it may set err.
func (p *payload) waiting() int {
	k, err := unix.IoctlGetInt(p.fd, inputQueue)
	if err != nil {
		p.err = err
		return 0
	}
	return k
}

// peek returns 1 when there is a byte; otherwise it may have set end or err.
func (p *payload) peek() int {
	var b [1]byte
	k, err := recvRetry(p.fd, b[:], unix.MSG_PEEK)
	switch {
	case errors.Is(err, unix.EAGAIN):
	case err != nil:
		p.err = err
	case k == 0:
		p.end = true
	}
	return k
}

// Len implements tcpip.Payloader.
func (p *payload) Len() int { return p.left }

// Read implements tcpip.Payloader.
func (p *payload) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if len(b) == 0 {
		return 0, nil
	}
	k, err := recvRetry(p.fd, b[:min(len(b), p.left)], 0)
	if err == nil && k == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		p.left, p.err = 0, err
		return 0, err
	}
	p.left -= k
	return k, nil
}

func recvRetry(fd int, b []byte, flags int) (int, error) {
	for {
		k, err := recv(fd, b, flags)
		if !errors.Is(err, unix.EINTR) {
			return max(k, 0), err
		}
	}
}

func recv(fd int, b []byte, flags int) (int, error) {
	if flags == 0 {
		return unix.Read(fd, b)
	}
	k, _, err := unix.Recvfrom(fd, b, flags)
	return k, err
}
