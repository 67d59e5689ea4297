package netfwd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

func ruleAt(p domain.Protocol, host string, portNumber uint16) domain.ForwardRule {
	return domain.ForwardRule{Protocol: p, Host: netip.AddrPortFrom(netip.MustParseAddr(host), portNumber), Target: container4}
}

// reaches reports whether a connection to address leads anywhere.
func reaches(address netip.Addr, portNumber uint16) bool {
	c, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, portNumber).String(), 2*time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// TestForwardHostAddress: the address of the host means exactly what it says.
// The first forwarder knew IPv4 only, and skipped rules for other addresses.
func TestForwardHostAddress(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	lan4, lan6 := hostAddresses(t, true), hostAddresses(t, false)
	all := append(append([]netip.Addr(nil), lan4...), lan6...)
	for _, at := range append([]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, all...) {
		f, host := r.forward(t, domain.TCP, at.String(), container4)
		for _, a := range all {
			want := a == at || at.IsUnspecified() && a.Is4() == at.Is4()
			require.Equal(t, want, reaches(a, host.Port()), "%s, published on %s", a, at)
		}
		require.NoError(t, f.Close())
	}
}

// TestForwardOnePortForBoth is the bug of the first forwarder, whose table
// knew addresses only: the second protocol was dropped silently.
func TestForwardOnePortForBoth(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	r.echoUDP(t, container4)
	var host netip.AddrPort
	for i := 0; ; i++ {
		var f port.Forward
		f, host = r.forward(t, domain.TCP, "127.0.0.1", container4)
		if u, err := r.Forward(context.Background(), ruleAt(domain.UDP, "127.0.0.1", host.Port())); err == nil {
			t.Cleanup(func() { u.Close() })
			break
		}
		require.NoError(t, f.Close())
		require.Less(t, i, 20)
	}
	for _, a := range []string{"0.0.0.0", "::"} { // and the other family beside it
		if a == "::" {
			f, err := r.Forward(context.Background(), ruleAt(domain.TCP, a, host.Port()))
			require.NoError(t, err)
			defer f.Close()
		}
	}
	requireEcho(t, dialHost(t, host), []byte("tcp"))
	requireEcho(t, dialUDP(t, host), []byte("udp"))
}

// TestForwardSecondHolder is the bug of the first forwarder, for which a second
// container on a port that was taken already looked like a success.
func TestForwardSecondHolder(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	for _, p := range []domain.Protocol{domain.TCP, domain.UDP} {
		_, host := r.forward(t, p, "127.0.0.1", container4)
		for _, a := range []string{"127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"} {
			rule := ruleAt(p, a, host.Port())
			rule.Target = netip.MustParseAddrPort("172.17.0.3:80")
			_, err := r.Forward(context.Background(), rule)
			require.ErrorIs(t, err, domain.ErrConflict, a)
			require.ErrorContains(t, err, fmt.Sprintf("127.0.0.1:%d", host.Port()))
		}
		f, err := r.Forward(context.Background(), ruleAt(p, "127.0.0.2", host.Port()))
		require.NoError(t, err, "another address is another port")
		require.NoError(t, f.Close())
	}
}

// TestForwardConflictNamesHolder has the port held by this very process.
func TestForwardConflictNamesHolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	r := newForwardRig(t, forwardLimits{})
	for _, c := range []struct {
		p    domain.Protocol
		held string
		want string
	}{
		{domain.TCP, "127.0.0.1", "127.0.0.1"}, {domain.TCP, "127.0.0.1", "0.0.0.0"}, {domain.TCP, "0.0.0.0", "127.0.0.1"},
		{domain.TCP, "::1", "::"}, {domain.UDP, "127.0.0.1", "127.0.0.1"}, {domain.UDP, "::", "::1"},
	} {
		var portNumber uint16
		if c.p == domain.TCP {
			ln, err := net.Listen(familyNetwork(c.p, netip.MustParseAddr(c.held)), net.JoinHostPort(c.held, "0"))
			require.NoError(t, err)
			defer ln.Close()
			portNumber = uint16(ln.Addr().(*net.TCPAddr).Port)
		} else {
			pc, err := net.ListenPacket(familyNetwork(c.p, netip.MustParseAddr(c.held)), net.JoinHostPort(c.held, "0"))
			require.NoError(t, err)
			defer pc.Close()
			portNumber = uint16(pc.LocalAddr().(*net.UDPAddr).Port)
		}
		rule := ruleAt(c.p, c.want, portNumber)
		_, err := r.Forward(context.Background(), rule)
		require.ErrorIs(t, err, domain.ErrConflict)
		require.EqualError(t, err, fmt.Sprintf("%s/%s is already in use on this computer by ArcBox (pid %d)", rule.Host, c.p, os.Getpid()))
		require.NotEmpty(t, domain.Hint(err))
	}

	// The end of a connection is in the way as well, and nothing listens there.
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = r.Forward(context.Background(), ruleAt(domain.TCP, "127.0.0.1", uint16(c.LocalAddr().(*net.TCPAddr).Port)))
	require.ErrorIs(t, err, domain.ErrConflict)
	require.ErrorContains(t, err, "for its connection to "+ln.Addr().String())
}

func TestForwardElsewhere(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	for _, p := range []domain.Protocol{domain.TCP, domain.UDP} {
		for _, a := range []string{"203.0.113.9", "2001:db8::9"} {
			_, err := r.Forward(context.Background(), ruleAt(p, a, 18080))
			require.ErrorIs(t, err, domain.ErrUnsupported)
			require.ErrorContains(t, err, "this computer has no address "+a)
		}
	}
	bad := map[string]domain.ForwardRule{
		"protocol":    {Protocol: "sctp", Host: netip.MustParseAddrPort("127.0.0.1:80"), Target: container4},
		"host port":   {Protocol: domain.TCP, Host: netip.MustParseAddrPort("127.0.0.1:0"), Target: container4},
		"multicast":   {Protocol: domain.UDP, Host: netip.MustParseAddrPort("224.0.0.1:80"), Target: container4},
		"no host":     {Protocol: domain.TCP, Target: container4},
		"no target":   {Protocol: domain.TCP, Host: netip.MustParseAddrPort("127.0.0.1:18080")},
		"target port": {Protocol: domain.TCP, Host: netip.MustParseAddrPort("127.0.0.1:18080"), Target: netip.MustParseAddrPort("172.17.0.2:0")},
	}
	for name, rule := range bad {
		_, err := r.Forward(context.Background(), rule)
		require.ErrorIs(t, err, domain.ErrInvalid, name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Forward(ctx, ruleAt(domain.TCP, "127.0.0.1", 18080))
	require.ErrorIs(t, err, context.Canceled)
}

// TestExplainBind: docker's client takes its exit code from words in the text.
func TestExplainBind(t *testing.T) {
	rule := ruleAt(domain.TCP, "0.0.0.0", 80)
	for _, c := range []struct {
		errno  syscall.Errno
		kind   error
		holder string
		text   string
	}{
		{syscall.EADDRINUSE, domain.ErrConflict, "nginx (pid 123)", "0.0.0.0:80/tcp is already in use on this computer by nginx (pid 123)"},
		{syscall.EADDRINUSE, domain.ErrConflict, "", "0.0.0.0:80/tcp is already in use on this computer"},
		{syscall.EADDRNOTAVAIL, domain.ErrUnsupported, "", "0.0.0.0:80/tcp: this computer has no address 0.0.0.0"},
		{syscall.EAFNOSUPPORT, domain.ErrUnsupported, "", "0.0.0.0:80/tcp: this computer has no IPv4"},
		{syscall.EMFILE, domain.ErrUnavailable, "", "0.0.0.0:80/tcp: too many files and connections are open in the ArcBox daemon (RLIMIT_NOFILE)"},
		{syscall.ENOENT, domain.ErrUnavailable, "", "0.0.0.0:80/tcp: this computer does not listen there (error 2)"},
		{syscall.EISDIR, domain.ErrUnavailable, "", "0.0.0.0:80/tcp: this computer does not listen there (error 21)"},
	} {
		err := explainBind(rule, &net.OpError{Op: "listen", Net: "tcp4", Err: os.NewSyscallError("bind", c.errno)}, c.holder)
		require.EqualError(t, err, c.text)
		require.ErrorIs(t, err, c.kind)
	}
	err := explainBind(ruleAt(domain.TCP, "::1", 80), syscall.EAFNOSUPPORT, "")
	require.EqualError(t, err, "[::1]:80/tcp: this computer has no IPv6")
	for errno := syscall.Errno(1); errno < 134; errno++ {
		requireHarmless(t, explainBind(rule, os.NewSyscallError("bind", errno), ""))
	}
}

func requireHarmless(t *testing.T, err error) {
	t.Helper()
	for _, words := range []string{"permission denied", "is a directory", "no such file or directory", "executable file not found"} {
		require.NotContains(t, strings.ToLower(err.Error()), words)
	}
}

func TestForwardAgainAtOnce(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	r.echoUDP(t, container4)
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	require.NoError(t, f.Close())
	uf, udpHost := r.forward(t, domain.UDP, "127.0.0.1", container4)
	require.NoError(t, uf.Close())
	for range 100 {
		f, err := r.Forward(context.Background(), ruleAt(domain.TCP, "127.0.0.1", host.Port()))
		require.NoError(t, err)
		c := dialHost(t, host)
		requireEcho(t, c, []byte("hello"))
		if f.Stats().Total%2 == 0 {
			c.CloseWrite() // leaves the connection in every state, open ones too
		}
		require.NoError(t, f.Close())

		f, err = r.Forward(context.Background(), ruleAt(domain.UDP, "127.0.0.1", udpHost.Port()))
		require.NoError(t, err)
		requireEcho(t, dialUDP(t, udpHost), []byte("hello"))
		require.NoError(t, f.Close())
	}
	// A server that closes first leaves the port in TIME_WAIT.
	ended := netip.MustParseAddrPort("172.17.0.5:80")
	r.serve(t, ended, func(c *net.TCPConn) { c.Write([]byte("bye")) })
	for range 3 {
		rule := ruleAt(domain.TCP, "127.0.0.1", host.Port())
		rule.Target = ended
		f, err := r.Forward(context.Background(), rule)
		require.NoError(t, err)
		b, err := io.ReadAll(dialHost(t, host))
		require.NoError(t, err)
		require.Equal(t, "bye", string(b))
		require.NoError(t, f.Close())
	}
}

func TestForward500Ports(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	r.serve(t, container4, echoTCP)
	before := runtime.NumGoroutine()
	hosts := make([]netip.AddrPort, 0, 500)
	for range 500 {
		_, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
		hosts = append(hosts, host)
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before+500)
	for _, h := range hosts {
		c := dialHost(t, h)
		requireEcho(t, c, []byte(h.String()))
		c.Close()
	}
	start := time.Now()
	require.NoError(t, r.Close())
	require.Less(t, time.Since(start), 5*time.Second)
	for _, h := range hosts[:10] {
		require.False(t, reaches(h.Addr(), h.Port()))
	}
}

func TestForwardAfterClose(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	f, host := r.forward(t, domain.TCP, "127.0.0.1", container4)
	require.NoError(t, r.Close())
	require.False(t, reaches(host.Addr(), host.Port()), "closing the link closes its forwards")
	require.NoError(t, f.Close())
	_, err := r.Forward(context.Background(), ruleAt(domain.TCP, "127.0.0.1", host.Port()))
	require.ErrorIs(t, err, domain.ErrUnavailable)
}

// TestForwardWhileClosing: nothing of a forward is left when it was made while
// the link was being closed.
func TestForwardWhileClosing(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	done := make(chan []error)
	for i := range 4 {
		go func() {
			var errs []error
			for p := uint16(15_000 + i*1000); ; p++ {
				_, err := r.Forward(context.Background(), ruleAt(domain.TCP, "127.0.0.1", p))
				if errors.Is(err, domain.ErrUnavailable) {
					done <- errs
					return
				}
				if err != nil && !errors.Is(err, domain.ErrConflict) {
					errs = append(errs, err)
				}
			}
		}()
	}
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, r.Close())
	for range 4 {
		require.Empty(t, <-done)
	}
	r.forwards.mu.Lock()
	defer r.forwards.mu.Unlock()
	require.Empty(t, r.forwards.open)
}

func TestSurroundings(t *testing.T) {
	r := newForwardRig(t, forwardLimits{})
	for _, bad := range []string{
		"0.0.0.0/0", "::/0", "10.0.2.0/24", "10.0.0.0/8", "10.0.2.128/25", "127.0.0.0/8", "127.0.0.1/32", "224.0.0.0/8", "239.1.0.0/16",
		"169.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8", "240.0.0.0/8", "255.255.255.255/32", "::1/128", "ff02::/16", "fe80::/16",
		r.cfg.Subnet6.String(), "::ffff:10.0.0.0/104", "172.16.0.0/4",
	} {
		good := netip.MustParsePrefix("100.99.0.0/24")
		err := r.SetBehind([]netip.Prefix{good, netip.MustParsePrefix(bad)})
		require.ErrorIs(t, err, domain.ErrInvalid, bad)
		require.ErrorContains(t, err, bad)
		_, err = r.DialUDP(netip.MustParseAddrPort("100.99.0.1:80"))
		require.ErrorIs(t, err, syscall.ENETUNREACH, "nothing was changed")
	}
	require.NoError(t, r.SetBehind([]netip.Prefix{netip.MustParsePrefix("100.99.0.0/24"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/64")}))
	for _, a := range []string{"100.99.0.1:80", "10.1.2.3:80", "[fd00:1::5]:80"} {
		c, err := r.DialUDP(netip.MustParseAddrPort(a))
		require.NoError(t, err, a)
		c.Close()
	}
}
