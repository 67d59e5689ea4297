package tun

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

func lo(t *testing.T) {
	l, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(l))
}

func defaultSettings(t *testing.T, only ...netip.Prefix) Settings {
	cfg := usernet.DefaultConfig()
	s, err := NewSettings(Networks{
		Subnets: []netip.Prefix{cfg.Subnet4, cfg.Subnet6}, Guests: []netip.Addr{cfg.Guest4, cfg.Guest6}, Pools: cfg.Behind,
	}, only)
	require.NoError(t, err)
	s.Owner = uint32(os.Geteuid())
	return s
}

// testInstaller keeps its files in the test's directory, and has a device node
// that everybody may open, as udev makes it.
func testInstaller(t *testing.T) *Installer {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	i := &Installer{node: filepath.Join(dir, "tun"), units: filepath.Join(dir, "units"), systemd: filepath.Join(dir, "systemd")}
	if err := unix.Mknod(i.node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		t.Skipf("this process may not make a device node: %v", err)
	}
	require.NoError(t, os.Chmod(i.node, 0o666))
	require.NoError(t, os.Mkdir(i.systemd, 0o755))
	return i
}

func TestInstall(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	i, s := testInstaller(t), defaultSettings(t)

	said, err := i.Install(s, true)
	require.NoError(t, err)
	require.NotEmpty(t, said)
	st, err := i.Status()
	require.NoError(t, err)
	require.Equal(t, Status{}, st, "a dry run changes nothing")

	did, err := i.Install(s, false)
	require.NoError(t, err)
	require.Equal(t, said, did)
	st, err = i.Status()
	require.NoError(t, err)
	require.True(t, st.Installed && st.Up && !st.Attached)
	require.Equal(t, MTU, st.MTU)
	require.ElementsMatch(t, s.Addresses, st.Addresses)
	require.ElementsMatch(t, s.Prefixes, st.Prefixes)
	require.Equal(t, ipCommand() != "", st.AtBoot)

	did, err = i.Install(s, false)
	require.NoError(t, err)
	require.Empty(t, did, "a second install has nothing to do")

	// Another owner, and only one pool.
	only := defaultSettings(t, netip.MustParsePrefix("172.20.0.0/14"))
	only.Owner = 1234
	_, err = i.Install(only, false)
	require.NoError(t, err)
	st, err = i.Status()
	require.NoError(t, err)
	require.Equal(t, uint32(1234), st.Owner)
	require.ElementsMatch(t, only.Prefixes, st.Prefixes)
	_, err = i.Install(s, false)
	require.NoError(t, err)
	st, err = i.Status()
	require.NoError(t, err)
	require.ElementsMatch(t, s.Prefixes, st.Prefixes)

	_, err = i.Uninstall(false)
	require.NoError(t, err)
	st, err = i.Status()
	require.NoError(t, err)
	require.Equal(t, Status{}, st)
	require.NoFileExists(t, i.unitPath())
	_, err = os.Lstat(i.wantedPath())
	require.ErrorIs(t, err, os.ErrNotExist)
	did, err = i.Uninstall(false)
	require.NoError(t, err)
	require.Empty(t, did)
}

// someone makes an interface that is not ours.
func (i *Installer) someone(t *testing.T, name, address string) {
	require.NoError(t, createDevice(i.node, name, 0))
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	a, err := netlink.ParseAddr(address)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(l, a))
	require.NoError(t, netlink.LinkSetUp(l))
}

func TestInstallRefusesOverlap(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	i := testInstaller(t)
	i.someone(t, "docker0", "172.17.0.1/16")
	_, err := i.Install(defaultSettings(t), false)
	require.ErrorIs(t, err, domain.ErrConflict)
	require.ErrorContains(t, err, "172.17.0.0/16 dev docker0 overlaps 172.16.0.0/12")
	require.Contains(t, domain.Hint(err), "--pool 172.16.0.0/16 --pool 172.18.0.0/15")
	d, err := inspectDevice()
	require.NoError(t, err)
	require.Nil(t, d, "a refused install changes nothing")

	_, err = i.Install(defaultSettings(t, netip.MustParsePrefix("172.18.0.0/15")), false)
	require.NoError(t, err)
}

func TestForeignInterface(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	i := testInstaller(t)
	i.someone(t, Device, "192.0.2.1/32")
	_, err := i.Install(defaultSettings(t), false)
	require.ErrorIs(t, err, domain.ErrConflict)
	_, err = i.Uninstall(false)
	require.ErrorIs(t, err, domain.ErrConflict)
	_, err = netlink.LinkByName(Device)
	require.NoError(t, err, "what is not ours stays")
}

func TestInstallWithoutIPv6(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, of := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+of+"/disable_ipv6", []byte("1"), 0); err != nil {
			t.Skipf("IPv6 cannot be switched off here: %v", err)
		}
	}
	i, s := testInstaller(t), defaultSettings(t)
	_, err := i.Install(s, false)
	require.NoError(t, err)
	st, err := i.Status()
	require.NoError(t, err)
	require.Equal(t, s.Addresses[:1], st.Addresses)
	did, err := i.Install(s, false)
	require.NoError(t, err)
	require.Empty(t, did)
}

// TestUnitCommands runs what the unit would at boot, and compares.
func TestUnitCommands(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	i, s := testInstaller(t), defaultSettings(t)
	if ipCommand() == "" {
		t.Skip("this machine has no ip command")
	}
	if _, err := os.Stat(node); err != nil {
		t.Skipf("the ip command needs %s: %v", node, err)
	}
	for range 2 { // a restart of the unit is no failure
		for line := range strings.Lines(Unit(ipCommand(), create(s))) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=")
			if !ok {
				continue
			}
			command, mayFail := strings.CutPrefix(command, "-")
			args := strings.Fields(command)
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); !mayFail {
				require.NoError(t, err, "%s: %s", command, out)
			}
		}
	}
	st, err := i.inspect()
	require.NoError(t, err)
	st.Systemd = false
	plan, err := Plan(st, s)
	require.NoError(t, err)
	require.Empty(t, plan, "the unit's commands make what the installer does")
}

const (
	userEnv = "ARCBOX_TEST_NODE"
	userID  = 4321
)

// TestAttachAsUser attaches without privileges.
func TestAttachAsUser(t *testing.T) {
	if path := os.Getenv(userEnv); path != "" {
		d, err := attach(path, Device, MTU)
		require.NoError(t, err)
		require.NoError(t, d.Close())
		return
	}
	if !inNamespace(t) {
		return
	}
	i, s := testInstaller(t), defaultSettings(t)
	s.Owner = userID
	_, err := i.Install(s, false)
	require.NoError(t, err)
	as := func(uid uint32) error {
		bin := filepath.Join(filepath.Dir(i.node), "attach")
		b, err := os.ReadFile(os.Args[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(bin, b, 0o755))
		cmd := exec.Command(bin, "-test.run=^TestAttachAsUser$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), userEnv+"="+i.node)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd.Run()
	}
	require.NoError(t, as(userID), "the owner may")
	require.Error(t, as(userID+1), "others may not")

	first, err := attach(i.node, Device, MTU)
	require.NoError(t, err)
	_, err = attach(i.node, Device, MTU)
	require.ErrorIs(t, err, unix.EBUSY)
	require.NoError(t, first.Close())
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestHostToContainer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	known := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, known) })
	i, s := testInstaller(t), defaultSettings(t)
	n, g := newNetwork(t)
	log := &syncBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a := NewAttacher(slog.New(slog.NewTextHandler(log, nil)))
		a.node = i.node
		a.Run(ctx, n)
	}()
	defer func() { cancel(); <-done }()

	// Installed while the daemon runs.
	_, err := i.Install(s, false)
	require.NoError(t, err)
	connected := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool { return n.RelayCounters().Connected == want }, 10*time.Second, 5*time.Millisecond, log)
	}
	connected(true)
	st, err := i.Status()
	require.NoError(t, err)
	require.True(t, st.Attached)

	for _, a := range []netip.Addr{container4, container6} {
		t.Run("tcp "+a.String(), func(t *testing.T) { tcpBothWays(t, g, a) })
		t.Run("udp "+a.String(), func(t *testing.T) { udpEcho(t, g, a) })
		t.Run("ping "+a.String(), func(t *testing.T) { ping(t, a) })
	}
	t.Run("container to host", func(t *testing.T) { toHost(t, g, s) })
	t.Run("another device of the host", func(t *testing.T) {
		before := n.RelayCounters().Foreign
		c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}).Dial("udp", "172.17.0.2:9")
		if err == nil {
			_, err = c.Write([]byte("x"))
			c.Close()
		}
		if err == nil {
			require.Eventually(t, func() bool { return n.RelayCounters().Foreign > before }, 5*time.Second, time.Millisecond)
		}
	})

	// Taken away and installed again under a running daemon.
	_, err = i.Uninstall(false)
	require.NoError(t, err)
	connected(false)
	_, err = i.Install(s, false)
	require.NoError(t, err)
	connected(true)
	ping(t, container4)
	t.Logf("%+v\n%s", n.RelayCounters(), log)
}
