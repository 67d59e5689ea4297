package netfwd

import (
	"context"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// TestForwardPrivileged binds a low port on a thread without privileges.
func TestForwardPrivileged(t *testing.T) {
	if unprivilegedStart() <= 81 {
		t.Skip("this host reserves no ports")
	}
	r := newForwardRig(t, forwardLimits{})
	errs := make(chan error, 2)
	dropped := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		dropped <- dropBindCapability()
		for _, p := range []domain.Protocol{domain.TCP, domain.UDP} {
			_, err := r.Forward(context.Background(), ruleAt(p, "127.0.0.1", 81))
			errs <- err
		}
	}()
	require.NoError(t, <-dropped)
	for range 2 {
		err := <-errs
		require.ErrorIs(t, err, domain.ErrPermission)
		require.ErrorContains(t, err, "net.ipv4.ip_unprivileged_port_start")
		require.ErrorContains(t, err, "127.0.0.1:81/")
		requireHarmless(t, err)
		require.NotEmpty(t, domain.Hint(err))
	}
	policy := explainPrivilege(ruleAt(domain.TCP, "127.0.0.1", 8080))
	require.ErrorIs(t, policy, domain.ErrPermission)
	require.NotContains(t, policy.Error(), "net.ipv4", "no setting is to blame for a high port")
	requireHarmless(t, policy)
}

// dropBindCapability takes CAP_NET_BIND_SERVICE from this thread.
func dropBindCapability() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, (*unix.CapUserData)(unsafe.Pointer(&d))); err != nil {
		return err
	}
	d[0].Effective &^= 1 << unix.CAP_NET_BIND_SERVICE
	return unix.Capset(&h, (*unix.CapUserData)(unsafe.Pointer(&d)))
}
