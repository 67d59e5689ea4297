package hostwatch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Open implements port.TreeWatcher. It fails when the kernel gives no inotify
// instance.
func (w *Watcher) Open(changed func([]domain.PathChange), limited func(error)) (port.TreeWatch, error) {
	k, err := newInotify()
	if err != nil {
		return nil, err
	}
	return open(w.options, k, changed, limited), nil
}

// closeLimit bounds Close.
const closeLimit = 5 * time.Second

// treeWatch implements port.TreeWatch. One goroutine owns the watches, one
// reads the kernel's events, and one makes the calls of the two functions.
type treeWatch struct {
	kernel kernel
	stop   chan struct{}
	once   sync.Once
	loop   sync.WaitGroup // who uses the kernel's watches
	others sync.WaitGroup

	news  chan reading
	calls chan func()
	free  chan struct{} // a call returned

	closed chan struct{} // when nothing runs
	err    error         // of closing the kernel, when closed is

	mu     sync.Mutex
	wanted []string
	wake   chan struct{} // wanted is another one
}

// reading is what one read of events brought.
type reading struct {
	events []event
	clean  time.Time
	err    error
}

func open(o Options, k kernel, changed func([]domain.PathChange), limited func(error)) *treeWatch {
	w := &treeWatch{kernel: k, stop: make(chan struct{}), news: make(chan reading), closed: make(chan struct{}), calls: make(chan func(), 1),
		free: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	l := &watchLoop{options: o, kernel: k, changed: changed, limited: limited, calls: w.calls, root: &node{}, byWD: map[int32][]*node{}}
	w.loop.Go(func() {
		defer close(w.calls)
		w.run(l)
	})
	w.others.Go(w.read)
	w.others.Go(func() {
		for call := range w.calls {
			select {
			case <-w.stop:
			default:
				call()
			}
			w.free <- struct{}{} // there is one call at a time, and so room
		}
	})
	return w
}

// SetTrees implements port.TreeWatch. Trees beyond domain.MaxWatchTrees are
// left out.
func (w *treeWatch) SetTrees(paths []string) {
	w.mu.Lock()
	w.wanted = paths[:min(len(paths), domain.MaxWatchTrees)]
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close implements port.TreeWatch. It must not be called by the functions
// themselves. A file system that does not answer is left to do so, which is
// domain.ErrTimeout; no call of the functions begins any more.
func (w *treeWatch) Close() error {
	w.once.Do(func() {
		close(w.stop)
		go func() {
			defer close(w.closed)
			w.loop.Wait() // the kernel's descriptor may be another's once it is closed
			w.err = w.kernel.close()
			w.others.Wait()
		}()
	})
	t := time.NewTimer(closeLimit)
	defer t.Stop()
	select {
	case <-w.closed:
		return w.err
	case <-t.C:
		return fmt.Errorf("end the watch of the host's directories: a file system does not answer: %w", domain.ErrTimeout)
	}
}

// read passes events on until the kernel is closed.
func (w *treeWatch) read() {
	for {
		events, clean, err := w.kernel.read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			err = fmt.Errorf("read what changed on the host: %w", err)
		}
		select {
		case w.news <- reading{events, clean, err}:
		case <-w.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// run is the owner of the watches.
func (w *treeWatch) run(l *watchLoop) {
	due, again := time.NewTimer(0), time.NewTimer(0)
	defer due.Stop()
	defer again.Stop()
	due.Stop()
	again.Stop()
	var tryAt time.Time
	idle := make(chan struct{})
	close(idle)
	for {
		l.settle()
		var deliver, retry <-chan time.Time
		if at := l.due(); !at.IsZero() {
			due.Reset(time.Until(at))
			deliver = due.C
		}
		if l.missed.path != "" && l.jobs.len() == 0 {
			if tryAt.IsZero() {
				tryAt = time.Now().Add(retryAfter)
			}
			again.Reset(time.Until(tryAt))
			retry = again.C
		}
		var work <-chan struct{}
		if l.jobs.len() > 0 {
			work = idle
		}
		select {
		case <-w.stop:
			return
		case <-w.wake:
			w.mu.Lock()
			wanted := w.wanted
			w.mu.Unlock()
			l.apply(wanted)
		case r := <-w.news:
			l.take(r)
		case <-w.free:
			l.busy = false
		case <-deliver:
			l.deliver()
		case <-retry:
			tryAt = time.Time{}
			l.retry()
		case <-work:
		}
		// A tree is watched as fast as changes come, however many do.
		l.step()
	}
}
