package usernet

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Moved counts the bytes of connections while they are carried. Several
// connections may share one.
type Moved struct{ ToGuest, FromGuest atomic.Uint64 }

// HalfCloser is a connection whose two directions end separately.
type HalfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// KernelConn is a stream socket of the host whose two directions end
// separately: a *net.TCPConn or a *net.UnixConn.
type KernelConn interface {
	HalfCloser
	syscall.Conn
	SetReadDeadline(time.Time) error
}

// Carry copies both ways between guest and host, which it owns, until both
// directions have ended and guest has taken what was sent. An end of data is
// passed on as one, a failure as a reset, also to a side that has ended its own
// direction already and waits. A side that does not read holds the other one
// back. When ctx ends both are reset. Bytes are added to moved as they are
// handed over.
//
// No buffer is held while nothing moves, and from the socket data is read
// straight into the stack's own memory.
func (n *Network) Carry(ctx context.Context, guest *Conn, host KernelConn, moved *Moved) {
	c := &carrier{
		net: n, guest: guest, host: host, moved: moved,
		over: make(chan struct{}),
	}
	raw, err := host.SyscallConn()
	if err != nil { // closed already
		reset(guest)
		reset(host)
		return
	}
	c.raw = raw
	c.open.Store(2)
	var readable, writable waiter.Entry
	readable, c.readable = waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	writable, c.writable = waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	guest.wq.EventRegister(&readable)
	guest.wq.EventRegister(&writable)

	canceled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.fail()
		close(canceled)
	})
	done := make(chan struct{})
	go func() {
		c.toGuest()
		close(done)
	}()
	c.fromGuest()
	<-done
	host.Close()
	c.awaitGuest()
	if !stop() {
		<-canceled
	}
	guest.wq.EventUnregister(&readable)
	guest.wq.EventUnregister(&writable)
	guest.Close()
}

// carrier is one connection of Carry. Each direction has a goroutine, which
// after the end of its data waits for a failure of its source until the other
// direction has ended too: nobody else would notice it.
type carrier struct {
	net   *Network
	guest *Conn
	host  KernelConn
	raw   syscall.RawConn
	moved *Moved

	readable, writable chan struct{} // of guest

	sentToGuest, sentFromGuest atomic.Bool // that direction's end was passed on
	open                       atomic.Int32
	ending                     sync.Once
	over                       chan struct{}
}

// fail resets both sides.
func (c *carrier) fail() {
	c.ending.Do(func() { close(c.over) })
	reset(c.guest)
	reset(c.host)
}

// end is called by the direction that has passed its end on.
func (c *carrier) end() {
	if c.open.Add(-1) > 0 {
		return
	}
	c.ending.Do(func() { close(c.over) })
	_ = c.host.SetReadDeadline(time.Unix(1, 0)) // wakes the other goroutine; fails when it needs no waking
}

func (c *carrier) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// toGuest moves the host's bytes until they end.
func (c *carrier) toGuest() {
	p := payload{want: firstRead}
	var terr tcpip.Error
	read := func(fd uintptr) bool {
		p.fd = int(fd)
		for {
			if !p.measure() {
				return p.end || p.err != nil
			}
			var k int64
			if k, terr = c.guest.ep.Write(&p, tcpip.WriteOptions{}); terr != nil {
				return true
			}
			c.moved.ToGuest.Add(uint64(k))
		}
	}
	for {
		terr = nil
		if err := c.raw.Read(read); err != nil {
			if !c.isOver() {
				c.fail()
			}
			return
		}
		if _, full := terr.(*tcpip.ErrWouldBlock); full {
			if !c.awaitRoom() {
				return
			}
			continue
		}
		if terr != nil || p.err != nil {
			c.fail()
			return
		}
		break
	}
	c.sentToGuest.Store(true)
	_ = c.guest.CloseWrite() // fails when the guest is down, which fromGuest learns by itself
	c.end()
	c.watchHost()
}

// lookAtHost is how often a side is looked at whose data the guest does not
// take: a client that has given up must not keep the connection for as long as
// a container hangs.
const lookAtHost = 2 * time.Second

// awaitRoom waits until the guest takes more; false when all is over.
func (c *carrier) awaitRoom() bool {
	look := time.NewTimer(lookAtHost)
	defer look.Stop()
	for {
		select {
		case <-c.writable:
			return true
		case <-c.over:
			return false
		case <-look.C:
		}
		gone := false
		err := c.raw.Control(func(fd uintptr) { gone = brokenSocket(int(fd)) })
		if err != nil || gone && !c.sentFromGuest.Load() {
			if !c.isOver() {
				c.fail()
			}
			return false
		}
		look.Reset(lookAtHost)
	}
}

// watchHost waits until the host's side fails or all is over.
func (c *carrier) watchHost() {
	gone := false
	err := c.raw.Read(func(fd uintptr) bool {
		gone = brokenSocket(int(fd))
		return gone
	})
	if c.isOver() {
		return
	}
	if err != nil || gone && !c.sentFromGuest.Load() {
		c.fail()
	}
}

// brokenSocket reports whether the peer of a stream socket has reset it. The
// kernel calls a socket whose two directions have ended orderly so, too.
func brokenSocket(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

// fromGuest moves the guest's bytes until they end.
func (c *carrier) fromGuest() {
	var terr tcpip.Error
	for {
		var err error
		if terr, err = c.drainGuest(); err != nil {
			if !c.isOver() {
				c.fail()
			}
			return
		}
		if _, empty := terr.(*tcpip.ErrWouldBlock); !empty {
			break
		}
		select {
		case <-c.readable:
		case <-c.over:
			return
		}
	}
	if _, ended := terr.(*tcpip.ErrClosedForReceive); !ended || c.guestBroken() {
		c.fail()
		return
	}
	c.sentFromGuest.Store(true)
	_ = c.host.CloseWrite() // fails when the client is gone, which toGuest learns by itself
	c.end()
	c.watchGuest()
}

// drainGuest writes what the guest has sent until the stack has no more, and
// returns why; err is the socket's.
func (c *carrier) drainGuest() (terr tcpip.Error, err error) {
	// Writing to the socket from within the stack's Read would save a copy, and
	// measures a third slower: it holds up the segments that arrive meanwhile.
	pool, size := &c.net.pools.copies, copyBuffer
	if c.guest.room < copyBuffer { // one of many: each that is stuck keeps its buffer
		pool, size = &c.net.pools.shortCopies, shortCopyBuffer
	}
	buf := take(pool, size)
	defer pool.Put(buf)
	var left []byte
	write := func(fd uintptr) bool {
		for len(left) > 0 {
			k, werr := unix.Write(int(fd), left)
			switch werr {
			case nil:
				left = left[k:]
				c.moved.FromGuest.Add(uint64(k))
			case unix.EINTR:
			case unix.EAGAIN:
				return false
			default:
				err = werr
				return true
			}
		}
		return true
	}
	for {
		w := tcpip.SliceWriter(*buf)
		res, terr := c.guest.ep.Read(&w, tcpip.ReadOptions{})
		if terr != nil {
			return terr, nil
		}
		left = (*buf)[:res.Count]
		if rawErr := c.raw.Write(write); rawErr != nil {
			return nil, rawErr
		}
		if err != nil {
			return nil, err
		}
	}
}

// watchGuest waits until the guest's side fails or all is over.
func (c *carrier) watchGuest() {
	for {
		if c.guestBroken() {
			c.fail()
			return
		}
		select {
		case <-c.readable:
		case <-c.over:
			return
		}
	}
}

// closeLimit is how long the guest may take for the rest of a connection that
// has ended. A machine may be paused meanwhile.
const closeLimit = 5 * time.Minute

// awaitGuest waits until the stack has nothing of the connection any more. It
// would go on by itself, but nobody would count what a guest that never reads,
// or never acknowledges, makes it keep.
func (c *carrier) awaitGuest() {
	pause, end := time.Millisecond, time.Now().Add(closeLimit)
	for {
		switch tcp.EndpointState(c.guest.ep.State()) {
		case tcp.StateClose, tcp.StateError, tcp.StateTimeWait:
			return
		}
		look := time.NewTimer(pause) // not every change of state is an event
		select {
		case <-c.readable:
		case <-look.C:
			pause = min(2*pause, time.Second)
		}
		look.Stop()
		if time.Now().After(end) {
			reset(c.guest)
			return
		}
	}
}

// guestBroken reports whether the guest has reset the connection. One that has
// ended in both directions is gone without that.
func (c *carrier) guestBroken() bool {
	s := tcp.EndpointState(c.guest.ep.State())
	return (s == tcp.StateError || s == tcp.StateClose) && !c.sentToGuest.Load()
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
