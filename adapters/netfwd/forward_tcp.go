package netfwd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

// listenTCP binds plan and starts to carry its connections.
func (f *forward) listenTCP(ctx context.Context, plan bindPlan) error {
	// Go sets SO_REUSEADDR, so that a port with connections in TIME_WAIT can be
	// published again, and IPV6_V6ONLY for tcp6.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // a slower accept, for clients that a port of a container does not have
	ln, err := lc.Listen(ctx, familyNetwork(domain.TCP, plan.at.Addr()), plan.at.String())
	if err != nil {
		return err
	}
	tcp := ln.(*net.TCPListener)
	f.unbind = func() { tcp.Close() }
	f.running.Go(func() { f.acceptTCP(tcp, plan) })
	return nil
}

// familyNetwork is the network of package net that is p over a's family alone.
func familyNetwork(p domain.Protocol, a netip.Addr) string {
	if a.Is4() {
		return string(p) + "4"
	}
	return string(p) + "6"
}

// tcpAcceptor is a *net.TCPListener.
type tcpAcceptor interface {
	AcceptTCP() (*net.TCPConn, error)
}

const (
	firstAcceptPause = 5 * time.Millisecond
	lastAcceptPause  = time.Second
)

// acceptTCP takes connections until ln is closed. Whatever else accept says
// (no file descriptor left, no memory, a peer that is gone again) passes.
func (f *forward) acceptTCP(ln tcpAcceptor, plan bindPlan) {
	pause := firstAcceptPause
	for {
		c, err := ln.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !f.pause(pause) {
				return
			}
			pause = min(2*pause, lastAcceptPause)
			continue
		}
		pause = firstAcceptPause
		if plan.only.IsValid() && !plan.admits(localAddr(c)) {
			resetTCP(c)
			continue
		}
		if !f.admit(f.limits.tcpFlows) {
			resetTCP(c)
			continue
		}
		f.running.Go(func() {
			defer f.flows.Add(-1)
			f.carryTCP(c)
		})
	}
}

func localAddr(c *net.TCPConn) netip.Addr {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr()
}

// carryTCP connects c, which it owns, to the target. A client has been accepted
// by then; what it sees of a container that refuses is a reset.
func (f *forward) carryTCP(c *net.TCPConn) {
	guest, err := f.dialTarget()
	if err != nil {
		if f.life.Err() == nil {
			f.failed.Add(1)
		}
		resetTCP(c)
		return
	}
	f.net.Carry(f.life, guest, c, &f.moved)
}

// retryRefused is the pause before a container that is starting is tried again.
const retryRefused = 20 * time.Millisecond

// dialTarget connects to the container. The port is open before the container's
// process runs, so a client that comes at once would be refused by a server
// that is about to listen: until it took a first connection it gets a moment.
func (f *forward) dialTarget() (*usernet.Conn, error) {
	ctx, cancel := context.WithTimeout(f.life, f.limits.dial)
	defer cancel()
	for began := time.Now(); ; {
		c, err := f.net.DialTCP(ctx, f.rule.Target)
		if err == nil {
			f.answered.Store(true)
			return c, nil
		}
		starting := !f.answered.Load() && time.Since(f.opened) < f.limits.young && time.Since(began) < f.limits.patience
		if !starting || !errors.Is(err, syscall.ECONNREFUSED) || !f.pause(retryRefused) {
			return nil, err
		}
	}
}

// resetTCP closes c so that its peer sees a failure and not an end of data.
func resetTCP(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}
