package usernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"arcbox/domain"
)

const (
	// maxFrame is more than any legal frame.
	maxFrame = 68 << 10
	// batchMax bounds the frames that are moved in one go.
	batchMax = 64
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
	// offloads is what the guest takes now. Called with the link's mutex held.
	offloads() offloads
	close()
}

// ended tells the ways in which a hypervisor goes away from failures.
func ended(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Serve moves frames over conn, which it owns, until the hypervisor closes its
// end (of a stream: datagrams do not tell), ctx ends or Close; these are no
// error. One connection is served at a time (domain.ErrInvalidState); open flows
// survive from one to the next. A hypervisor that does not speak the protocol,
// or a guest's driver that breaks a virtqueue, ends it with domain.ErrCorrupt.
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
	w, err := n.openWire(conn)
	if err != nil {
		conn.Close()
		return fmt.Errorf("serve the network: %w", err)
	}
	for _, c := range []context.Context{ctx, n.life} {
		stop := context.AfterFunc(c, func() { conn.Close() })
		defer stop()
	}
	if err := n.link.serve(w); err != nil {
		return fmt.Errorf("serve the network: %w", err)
	}
	return nil
}
