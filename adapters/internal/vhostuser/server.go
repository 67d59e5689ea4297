//go:build linux

package vhostuser

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// replyTime bounds the write of a reply to a front-end that does not read.
const replyTime = 10 * time.Second

// Device is what a Server serves. Its functions, of which none may be nil, run
// on the goroutine of Serve, without the mutex of a queue.
type Device struct {
	// Name is for the log.
	Name string
	// Features are the device's own (VIRTIO 1.2, section 5); those of the rings
	// are added.
	Features uint64
	// Config is the configuration space; it is not changed. Without it the
	// front-end has its own.
	Config []byte
	// Queues is how many there are, one at least.
	Queues int
	// Negotiated gets the features that the driver took, before it starts.
	Negotiated func(features uint64)
	// Changed runs after requests that may have started or stopped queues.
	Changed func()
	// Restarted says that a driver starts with a queue anew: it knows nothing
	// of what was before.
	Restarted func(queue int)
	// Reset says that the driver is gone, and why.
	Reset func(why string)
}

// Server is the back-end of one device.
type Server struct {
	log    *slog.Logger
	conn   *net.UnixConn
	queues []*Queue
	ctl    *controller
	name   string
}

// New makes a server of dev to the front-end behind conn, which it owns once
// Serve is called.
func New(log *slog.Logger, conn *net.UnixConn, dev Device) *Server {
	s := &Server{log: log, conn: conn, name: dev.Name}
	for i := range dev.Queues {
		s.queues = append(s.queues, newQueue(i))
	}
	s.ctl = &controller{dev: dev, queues: s.queues}
	return s
}

// Queue is one of the device's queues, counted from 0.
func (s *Server) Queue(i int) *Queue { return s.queues[i] }

// Serve answers the front-end until that goes away (io.EOF), Close
// (net.ErrClosed), or a break of the protocol. Before it gives the guest's
// memory back it calls ending with that error, when that is not nil. When it
// returns nothing of the server runs.
func (s *Server) Serve(ending func(error)) error {
	end := make(chan struct{})
	var tasks sync.WaitGroup
	tasks.Go(func() { s.trim(end) })
	err := s.requests()
	if ending != nil {
		ending(err)
	}
	s.ctl.release("the device is down")
	close(end)
	tasks.Wait()
	_ = s.conn.Close()
	return err
}

// Close ends Serve. It may be called more than once.
func (s *Server) Close() { _ = s.conn.Close() }

func (s *Server) requests() error {
	for {
		m, err := readMessage(s.conn)
		if err != nil {
			return err
		}
		if err := s.request(m); err != nil {
			return err
		}
	}
}

func (s *Server) request(m *message) error {
	reply, err := s.ctl.handle(m)
	m.closeFDs()
	log := s.log.With("device", s.name, "request", uint32(m.req))
	log.Debug("vhost-user request", "bytes", len(m.body), "error", err)
	switch {
	case err != nil && m.req.answers(), err != nil && m.flags&flagNeedReply == 0 && !errors.Is(err, errUnknownRequest):
		return fmt.Errorf("request %d: %w", m.req, err)
	case err != nil && m.flags&flagNeedReply == 0:
		log.Warn("unknown vhost-user request")
		return nil
	case err != nil:
		log.Warn("vhost-user request refused", "error", err)
		reply = u64(1)
	case reply == nil && m.flags&flagNeedReply != 0:
		reply = u64(0)
	case reply == nil:
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(replyTime)); err != nil {
		return err
	}
	_, err = s.conn.Write(encodeReply(m.req, reply))
	return err
}
