package usernet

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
)

func plugCard(t testing.TB, hypervisor, frames *net.UnixConn) {
	t.Cleanup(vhosttest.PlugCard(t, hypervisor, frames).Close)
}

// waitDriver waits until the guest's driver has started the card, if n has one.
func waitDriver(t testing.TB, n *Network) {
	require.Eventually(t, func() bool {
		n.link.mu.Lock()
		w, ok := n.link.wire.(*card)
		n.link.mu.Unlock()
		if !ok {
			return true
		}
		for _, q := range []*vhostuser.Queue{w.rx, w.tx} {
			q.Lock()
			ok = ok && q.Live()
			q.Unlock()
		}
		return ok
	}, 5*time.Second, time.Millisecond)
}
