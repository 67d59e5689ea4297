package usernet

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// forwardTCP takes a connect of the guest to the host's side. The stack calls
// it in a goroutine of its own, one per SYN, at most MaxConnecting at once.
func (n *Network) forwardTCP(r *tcp.ForwarderRequest) {
	if !n.enter() {
		r.Complete(true)
		return
	}
	defer n.wg.Done()
	id := r.ID()
	to, ok := n.policy.Load().target(toAddrPort(id.LocalAddress, id.LocalPort))
	if !ok {
		n.counts.refused.Add(1)
		r.Complete(true)
		return
	}
	if !acquire(&n.counts.tcpFlows, n.cfg.MaxTCPFlows, &n.counts.tcpLimit) {
		r.Complete(true)
		return
	}
	defer n.counts.tcpFlows.Add(-1)

	// The host is dialled first, so that the guest sees a refusal as one.
	ctx, cancel := context.WithTimeout(n.life, n.cfg.ConnectTimeout)
	host, err := n.dialHost(ctx, to.String())
	cancel()
	if err != nil {
		// A time-out is left to the guest's own timers; all else is a refusal.
		r.Complete(!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, syscall.ETIMEDOUT))
		return
	}
	wq := new(waiter.Queue)
	ep, terr := n.handshake(r, wq)
	r.Complete(terr != nil)
	if terr != nil { // a clean end would look like an answer to the host's side
		reset(host)
		return
	}
	n.Carry(n.life, n.newConn(wq, ep), host, new(Moved))
}

func (n *Network) dialHost(ctx context.Context, to string) (KernelConn, error) {
	c, err := n.cfg.Dial(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	kc, ok := c.(KernelConn)
	if !ok {
		c.Close()
		return nil, net.UnknownNetworkError(c.LocalAddr().Network())
	}
	return kc, nil
}

// handshake finishes the guest's connect. The stack waits for that on wq
// alone and as long as its retries last, so a deadline and Close wake it there.
func (n *Network) handshake(r *tcp.ForwarderRequest, wq *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	n.mu.Lock()
	n.handshakes[wq] = struct{}{}
	n.mu.Unlock()
	expire := time.AfterFunc(n.cfg.ConnectTimeout, func() { wq.Notify(waiter.WritableEvents) })
	ep, err := r.CreateEndpoint(wq)
	expire.Stop()
	n.mu.Lock()
	delete(n.handshakes, wq)
	n.mu.Unlock()
	return ep, err
}
