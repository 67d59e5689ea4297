//go:build linux

package vhostuser

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Queue is the life of one virtqueue: configured and started by the
// front-end, kicked by the driver. Its mutex guards the ring; the device holds
// it while it moves chains.
type Queue struct {
	// OnKick runs on the queue's goroutine, and before the queue is served on
	// none, when the driver has offered chains. Set it before Serve.
	OnKick func()

	index int

	mu      sync.Mutex
	ring    ring
	size    uint16
	addr    ringAddr
	table   *memTable
	enabled bool
	broken  error // what the driver did wrong; the queue is dead until it is started again

	run      uint64        // counts the starts
	inFlight int           // chains of this run that are being answered
	drained  chan struct{} // closed when there are none, if somebody waits for that

	// The kick goroutine belongs to start and stop, which only the control
	// goroutine calls.
	kick *os.File
	done chan struct{}

	callMu sync.RWMutex // held for reading while signalling, so that the descriptor is not closed meanwhile
	call   int          // eventfd that interrupts the driver, -1 when there is none
}

func newQueue(index int) *Queue { return &Queue{index: index, call: -1, OnKick: func() {}} }

var errRunning = errors.New("the queue is running")

func (q *Queue) setSize(n uint32) error {
	if n == 0 || n > maxQueueSize || n&(n-1) != 0 {
		return fmt.Errorf("queue size %d is not a power of two up to %d", n, maxQueueSize)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kick != nil {
		return errRunning
	}
	q.size = uint16(n)
	q.ring.unbind()
	return nil
}

// setAddr binds the ring. On a running queue it may come again, to switch the
// migration log of the used ring.
func (q *Queue) setAddr(a ringAddr) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	used, keep := q.ring.usedIdx, q.kick != nil && q.ring.bound()
	if err := q.ring.bind(q.table, q.size, a); err != nil {
		return err
	}
	if keep {
		q.ring.usedIdx = used
	}
	q.addr = a
	return nil
}

// setTable moves the queue to other memory. After it returns the queue does
// not use the table it had. A bound ring that is not in the new memory kills
// the queue.
func (q *Queue) setTable(t *memTable) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.table = t
	if !q.ring.bound() {
		return
	}
	old := q.ring.usedIdx
	if err := q.ring.bind(t, q.size, q.addr); err != nil {
		q.ring.unbind()
		q.broken = fmt.Errorf("queue %d lost its memory: %w", q.index, err)
		return
	}
	q.ring.usedIdx = old
}

func (q *Queue) setFeatures(f uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ring.eventIdx = f&FeatEventIdx != 0
	if f&FeatLogAll == 0 {
		q.ring.log, q.ring.logUsed = nil, false
	}
	if f&FeatProtocol == 0 {
		q.enabled = true // without protocol features rings start enabled
	}
}

// setLog replaces the migration log; after it returns the old one is unused.
func (q *Queue) setLog(l *dirtyLog) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ring.log = l
}

// setBase sets the next chain to take, before start. It reports whether that
// continues where the queue stopped.
func (q *Queue) setBase(base uint32) (continues bool, err error) {
	if base > 0xffff {
		return false, fmt.Errorf("queue base %d is larger than 65535", base)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kick != nil {
		return false, errRunning
	}
	continues = q.ring.lastAvail == uint16(base)
	q.ring.lastAvail = uint16(base)
	return continues, nil
}

func (q *Queue) enable(on bool) {
	q.mu.Lock()
	q.enabled = on
	q.mu.Unlock()
	if on {
		q.KickSelf()
	}
}

// KickSelf lets the kick goroutine look at the queue, as if the driver had
// kicked it. Called without mu.
func (q *Queue) KickSelf() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kick != nil {
		signalFile(q.kick)
	}
}

// start takes ownership of the kick eventfd and serves the queue.
func (q *Queue) start(fd int) error {
	q.stop()
	if err := checkEventFD(fd); err != nil {
		_ = unix.Close(fd)
		return err
	}
	f := os.NewFile(uintptr(fd), "vhost-user-kick")
	q.mu.Lock()
	q.kick, q.broken = f, nil
	q.ring.everSent = false
	q.mu.Unlock()
	done := make(chan struct{})
	q.done = done
	go func() {
		defer close(done)
		q.OnKick() // what the driver offered before this queue started
		var count [8]byte
		for {
			if _, err := f.Read(count[:]); err != nil {
				return // stop closed it
			}
			q.OnKick()
		}
	}()
	return nil
}

// stop ends the service of the queue and waits for it and for the chains that
// are being answered. It returns the next chain to take.
func (q *Queue) stop() (base uint16) {
	q.mu.Lock()
	f, done := q.kick, q.done
	q.kick, q.done = nil, nil
	base = q.ring.lastAvail
	q.mu.Unlock()
	if f != nil {
		_ = f.Close()
		<-done
	}
	q.drain(DrainTime)
	return base
}

// setCall takes ownership of the eventfd that interrupts the driver; -1 for none.
func (q *Queue) setCall(fd int) error {
	if fd >= 0 {
		if err := checkEventFD(fd); err != nil {
			_ = unix.Close(fd)
			return err
		}
	}
	q.callMu.Lock()
	old := q.call
	q.call = fd
	q.callMu.Unlock()
	if old >= 0 {
		_ = unix.Close(old)
	}
	// The driver may have waited for a signal that nobody could send.
	q.Notify()
	return nil
}

// Notify interrupts the driver. Called without mu.
func (q *Queue) Notify() {
	q.callMu.RLock()
	defer q.callMu.RUnlock()
	if q.call < 0 {
		return
	}
	one := [8]byte{1}
	_, _ = unix.Write(q.call, one[:]) // a full counter has been signalled already
}

// signalFile adds to an eventfd without waiting for room, as File.Write would.
func signalFile(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return // closed
	}
	one := [8]byte{1}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), one[:]) })
}

// release stops the queue and forgets everything.
func (q *Queue) release() {
	q.stop()
	_ = q.setCall(-1)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ring = ring{}
	q.table, q.size, q.addr, q.enabled, q.broken = nil, 0, ringAddr{}, false, nil
}

// checkEventFD makes sure that reads and writes of the descriptor never block
// this process.
func checkEventFD(fd int) error {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return err
	}
	if name != "anon_inode:[eventfd]" {
		return errors.New("the descriptor is not an eventfd")
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true))
}
