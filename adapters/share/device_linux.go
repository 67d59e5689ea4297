package share

import (
	"errors"
	"io"
	"log/slog"
	"net"

	"arcbox/adapters/internal/vhostuser"
)

const (
	// The queues of a file system device: FORGETs and the like, and the requests.
	priorityQueue = 0
	requestQueue  = 1
	queueCount    = 2

	// maxRequests is how many requests are carried out at the same time. Each may
	// hold a thread of this process while the host's disk works.
	maxRequests = 64
)

// device is a virtio file system device (VIRTIO 1.2, section 5.11) for the
// hypervisor at the other end of a connection.
type device struct {
	log      *slog.Logger
	sessions *sessions
	server   *vhostuser.Server
	workers  []*vhostuser.Workers
}

func newDevice(log *slog.Logger, conn *net.UnixConn, s *sessions) *device {
	d := &device{log: log, sessions: s}
	d.server = vhostuser.New(log, conn, vhostuser.Device{
		Name:       "fs",
		Queues:     queueCount,
		Negotiated: func(uint64) {},
		Changed:    func() {},
		Restarted:  func(int) {},
		Reset:      func(string) {},
	})
	// What a guest forgets is in order, and quick.
	for queue, limit := range [queueCount]int{priorityQueue: 1, requestQueue: maxRequests} {
		d.workers = append(d.workers, vhostuser.NewWorkers(d.server.Queue(queue), limit, d.answer, d.broken))
	}
	return d
}

// serve returns when the hypervisor has gone; some requests may still be under way.
func (d *device) serve() {
	err := d.server.Serve(nil)
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		d.log.Error("the machine's shared directories ended", "err", err)
	}
}

// close ends serve.
func (d *device) close() { d.server.Close() }

// wait returns when no request is under way, and closes all files.
func (d *device) wait() {
	for _, w := range d.workers {
		w.Wait()
	}
	d.sessions.end()
}

func (d *device) broken(err error) {
	d.log.Error("the machine's shared directories ended", "err", err)
}

// answer carries out the request in a chain. The library reads what the guest
// wrote, so that a mistake there is the guest's to suffer.
func (d *device) answer(c *vhostuser.Chain) (written int) {
	defer func() {
		if v := recover(); v != nil {
			d.log.Error("a request of the guest for a shared file went wrong", "panic", v)
			written = 0
		}
	}()
	in, out, ok := split(c.Segments)
	if !ok {
		return 0
	}
	h, in, ok := own(in)
	if !ok {
		return 0
	}
	return d.sessions.answer(h, in, out)
}
