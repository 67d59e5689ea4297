package usernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"arcbox/domain"
)

const (
	// maxFrame is more than any legal frame; QEMU's own limit for what it sends
	// is 4 KiB + 64 KiB. A longer prefix means that the framing is lost.
	maxFrame = 68 << 10
	// batchMax bounds the frames of one system call, bufsMax its buffers:
	// IOV_MAX is 1024 on Linux and macOS.
	batchMax = 64
	bufsMax  = 1000
)

// wire is one connection to the hypervisor.
type wire interface {
	// send writes items from the front of batch and returns how many are gone.
	// With wait it blocks until something could be written or the wire is
	// closed; without, 0 means that the socket is full. The front of the next
	// batch is the first item that was not gone. One caller at a time.
	send(batch []txItem, wait bool) (int, error)
	// receive hands r every frame until the connection ends. The end itself,
	// and close, are no error.
	receive(r *receiver) error
	close()
}

// socket is what both framings share.
type socket struct {
	conn *net.UnixConn
	raw  syscall.RawConn
	bufs [][]byte
}

func openSocket(conn *net.UnixConn, buffer int) (socket, error) {
	_ = conn.SetWriteBuffer(buffer) // a smaller buffer is slower, not wrong
	_ = conn.SetReadBuffer(buffer)
	raw, err := conn.SyscallConn()
	return socket{conn: conn, raw: raw}, err
}

func (s *socket) close() { s.conn.Close() }

// add appends the slices of b from byte skip on, without copying.
func (s *socket) add(it txItem, skip int) {
	if it.slab != nil {
		s.bufs = append(s.bufs, it.slab.buf[skip:])
		return
	}
	views, off := it.pkt.AsViewList()
	off += skip
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if off >= len(b) {
			off -= len(b)
			continue
		}
		s.bufs = append(s.bufs, b[off:])
		off = 0
	}
}

// ended tells the ways in which a hypervisor goes away from failures.
func ended(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Serve moves frames over conn, which it owns, until the hypervisor closes its
// end (of a stream: datagrams do not tell), ctx ends or Close; these are no
// error. One connection is served at a
// time (domain.ErrInvalidState); open flows survive from one to the next. A
// hypervisor that sends no valid framing ends it with domain.ErrCorrupt.
func (n *Network) Serve(ctx context.Context, conn *net.UnixConn) error {
	n.mu.Lock()
	if n.closed || n.serving {
		closed := n.closed
		n.mu.Unlock()
		conn.Close()
		if closed {
			return nil
		}
		return fmt.Errorf("serve the network: another connection is served: %w", domain.ErrInvalidState)
	}
	n.serving = true
	n.wg.Add(1)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.serving = false
		n.mu.Unlock()
		n.wg.Done()
	}()
	s, err := openSocket(conn, n.cfg.SocketBuffer)
	if err != nil {
		conn.Close()
		return fmt.Errorf("serve the network: %w", os.NewSyscallError("rawconn", err))
	}
	for _, c := range []context.Context{ctx, n.life} {
		stop := context.AfterFunc(c, func() { conn.Close() })
		defer stop()
	}
	var w wire = &streamWire{socket: s}
	if n.cfg.Framing == Datagram {
		w = &datagramWire{socket: s}
	}
	if err := n.link.serve(w); err != nil {
		return fmt.Errorf("serve the network: %w", err)
	}
	return nil
}
