package share

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/domain"
)

// closeTime bounds how long Close waits for requests, beside the time that the
// queues give them: a system call on a dead network file system may never return.
const closeTime = 5 * time.Second

// link is one machine's device. It implements port.ShareLink.
type link struct {
	log      *slog.Logger
	name     domain.MachineName
	listener *net.UnixListener
	file     *os.File
	dirs     []directory
	sessions *sessions
	done     chan struct{} // closed when nothing of the link runs

	mu     sync.Mutex
	closed bool
	device *device
}

// serve owns dirs when it succeeds.
func (s *Shares) serve(name domain.MachineName, dirs []directory) (*link, error) {
	ln, file, err := vhostuser.Listen("shares")
	if err != nil {
		return nil, err
	}
	l := &link{
		log: s.log.With("machine", name), name: name, listener: ln, file: file, dirs: dirs, done: make(chan struct{}),
	}
	l.sessions = newSessions(l.log, s.cache, func() (*passThrough, error) {
		f, err := newPassThrough(l.log, s.cache, s.hidden, s.budget, dirs)
		if err == nil {
			f.writes = s.writes
		}
		return f, err
	})
	go l.accept()
	return l, nil
}

// File implements port.ShareLink.
func (l *link) File() *os.File { return l.file }

// accept serves one hypervisor after the other: its start may take several.
func (l *link) accept() {
	defer close(l.done)
	for {
		conn, err := l.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.log.Error("the machine's shared directories ended", "err", err)
			}
			closeDirectories(l.dirs)
			return
		}
		d := newDevice(l.log, conn, l.sessions)
		if !l.use(d) {
			_ = conn.Close()
			continue
		}
		d.serve()
		d.wait()
	}
}

// use makes d the device that Close ends.
func (l *link) use(d *device) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.device = d
	return !l.closed
}

// Close implements port.ShareLink. Requests that the host does not answer are left
// to end by themselves, which is an error; so are their files.
func (l *link) Close() error {
	l.mu.Lock()
	l.closed = true
	d := l.device
	l.mu.Unlock()
	_ = l.listener.Close()
	if d != nil {
		d.close()
	}
	defer l.file.Close()
	t := time.NewTimer(queueTime + closeTime)
	defer t.Stop()
	select {
	case <-l.done:
		return nil
	case <-t.C:
		return fmt.Errorf("closing the shared directories of machine %q: the host does not finish a request for a file: %w", l.name, domain.ErrTimeout)
	}
}

// queueTime is what the device's queues give requests that are under way.
const queueTime = queueCount * vhostuser.DrainTime
