package usernet

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/domain"
)

// Features of a network card: VIRTIO 1.2, section 5.1.3.
const (
	featChecksum      = 1 << 0
	featGuestChecksum = 1 << 1
	featMTU           = 1 << 3
	featGuestTSO4     = 1 << 7
	featGuestTSO6     = 1 << 8
	featHostTSO4      = 1 << 11
	featHostTSO6      = 1 << 12
	featMergeable     = 1 << 15

	cardFeatures = featChecksum | featGuestChecksum | featMTU |
		featGuestTSO4 | featGuestTSO6 | featHostTSO4 | featHostTSO6 | featMergeable

	// The queues, by the guest's view: it receives from the first.
	rxQueue    = 0
	txQueue    = 1
	cardQueues = 2
)

// card is a virtio network card (VIRTIO 1.2, section 5.1) that the hypervisor
// leaves to this process: frames are copied between the guest's memory and the
// stack's, with nothing in between. While the guest offers no buffers, or its
// driver is not up, frames wait.
type card struct {
	server   *vhostuser.Server
	rx, tx   *vhostuser.Queue
	counts   *counters
	features atomic.Uint64

	room chan struct{} // has one when the driver may have offered receive buffers
	end  chan struct{}
	once sync.Once

	fill   filler     // guarded by rx
	begun  int        // frames of the slab at the front that are gone already
	taking taker      // of the tx queue's goroutine
	fault  chan error // one that the driver caused
}

func newCard(conn *net.UnixConn, log *slog.Logger, counts *counters) *card {
	w := &card{
		counts: counts, room: make(chan struct{}, 1), end: make(chan struct{}), fault: make(chan error, 1),
	}
	w.server = vhostuser.New(log, conn, vhostuser.Device{
		Name:       "net",
		Features:   cardFeatures,
		Queues:     cardQueues,
		Negotiated: w.features.Store,
		Changed:    w.poke,
		Restarted:  func(int) {},
		Reset:      func(string) {},
	})
	w.rx, w.tx = w.server.Queue(rxQueue), w.server.Queue(txQueue)
	w.rx.OnKick = w.buffersOffered
	return w
}

func (w *card) offloads() offloads {
	f := w.features.Load()
	return offloads{checksum: f&featGuestChecksum != 0, tso4: f&featGuestTSO4 != 0, tso6: f&featGuestTSO6 != 0}
}

// receive implements wire: frames come on the tx queue's goroutine, which runs
// within Serve.
func (w *card) receive(r *receiver) error {
	w.tx.OnKick = func() { w.take(r) }
	err := w.server.Serve(nil)
	select {
	case err = <-w.fault:
		return fmt.Errorf("the network card: %w: %w", err, domain.ErrCorrupt)
	default:
	}
	if errors.Is(err, io.EOF) || ended(err) {
		return nil
	}
	return fmt.Errorf("the network card: %w: %w", err, domain.ErrCorrupt)
}

func (w *card) close() {
	w.once.Do(func() { close(w.end) })
	w.server.Close()
}

// broken ends the card, as the driver broke a queue.
func (w *card) broken(err error) {
	select {
	case w.fault <- err:
	default:
	}
	w.server.Close()
}

func (w *card) poke() {
	select {
	case w.room <- struct{}{}:
	default:
	}
}
