//go:build linux

package listeners

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func inode(t testing.TB, path string) uint64 {
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st.Ino
}

func mkdir(t *testing.T, path ...string) string {
	p := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(p, 0o755))
	return p
}

func TestSocketsGoToTheContainersThatMadeThem(t *testing.T) {
	root := t.TempDir()
	a, b, other := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	mine := mkdir(t, root, "docker", a)
	inner := mkdir(t, mine, "init.scope", "x")
	elsewhere := mkdir(t, root, "mine/deep", b) // --cgroup-parent
	foreign := mkdir(t, root, "docker", other)
	o := newOwners(root, []string{a, b})

	later := mkdir(t, mine, "later")
	tcp := func(cgroup uint64, addr string) socket {
		return socket{protocol: domain.TCP, addr: netip.MustParseAddrPort(addr), cgroup: cgroup}
	}
	udp := func(cgroup uint64, addr string) socket {
		return socket{protocol: domain.UDP, addr: netip.MustParseAddrPort(addr), cgroup: cgroup}
	}
	dual := tcp(inode(t, inner), "[::]:443")
	dual.dual = true
	got := o.listeners([]socket{
		tcp(inode(t, later), "0.0.0.0:90"),
		tcp(inode(t, mine), "127.0.0.1:80"),
		tcp(inode(t, mine), "127.0.0.1:80"), // SO_REUSEPORT
		dual,
		udp(inode(t, elsewhere), "0.0.0.0:53"),
		udp(inode(t, elsewhere), "0.0.0.0:61001"), // a client's
		tcp(inode(t, elsewhere), "0.0.0.0:61001"),
		tcp(inode(t, foreign), "0.0.0.0:1"),
		tcp(inode(t, root), "0.0.0.0:2375"), // the agent and dockerd
		tcp(0, "0.0.0.0:3"),
	})
	require.Equal(t, []domain.GuestListener{
		{Container: b, Protocol: domain.UDP, Addr: netip.MustParseAddrPort("0.0.0.0:53")},
		{Container: a, Protocol: domain.TCP, Addr: netip.MustParseAddrPort("0.0.0.0:90")},
		{Container: b, Protocol: domain.TCP, Addr: netip.MustParseAddrPort("0.0.0.0:61001")},
		{Container: a, Protocol: domain.TCP, Addr: netip.MustParseAddrPort("127.0.0.1:80")},
		{Container: a, Protocol: domain.TCP, Addr: netip.MustParseAddrPort("[::]:443"), DualStack: true},
	}, got)
	require.Contains(t, o.known, inode(t, foreign), "it is not looked for again")
}

func TestTheKernelsList(t *testing.T) {
	d, err := openDiag()
	require.NoError(t, err)
	defer d.close()
	want := map[string]socket{}
	add := func(p domain.Protocol, addr net.Addr, dual bool) {
		a := netip.MustParseAddrPort(addr.String())
		want[string(p)+addr.String()] = socket{protocol: p, addr: a, dual: dual}
	}
	for _, l := range []struct {
		network, addr string
		dual          bool
	}{{"tcp4", "127.0.0.1:0", false}, {"tcp4", "0.0.0.0:0", false}, {"tcp", "[::]:0", true}, {"tcp6", "[::]:0", false}, {"tcp6", "[::1]:0", false}} {
		x, err := net.Listen(l.network, l.addr)
		if err != nil {
			t.Logf("%v", err)
			continue
		}
		defer x.Close()
		add(domain.TCP, x.Addr(), l.dual)
		u, err := net.ListenPacket(strings.Replace(l.network, "tcp", "udp", 1), l.addr)
		require.NoError(t, err)
		defer u.Close()
		add(domain.UDP, u.LocalAddr(), l.dual)
	}
	require.NotEmpty(t, want)
	for range 2 { // a second list on the same socket
		all, err := d.waiting()
		require.NoError(t, err)
		for _, s := range all {
			key := string(s.protocol) + s.addr.String()
			if w, ok := want[key]; ok {
				require.Equal(t, w.dual, s.dual, key)
				require.NotZero(t, s.cgroup, key)
			}
		}
		for key := range want {
			found := false
			for _, s := range all {
				found = found || string(s.protocol)+s.addr.String() == key
			}
			require.True(t, found, key)
		}
	}
}

// message is one netlink message of a dump.
func message(kind uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return append(b, body...)
}

func TestAnswersOfTheKernel(t *testing.T) {
	body := make([]byte, sizeofAnswer)
	body[0], body[5] = unix.AF_INET, 80
	copy(body[8:], []byte{10, 0, 0, 1})
	cgroup := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, 12), attrCgroup), 77)
	body = append(body, cgroup...)
	one := message(sockDiagByFamily, 5, body)

	got, end, err := parse(nil, append(append(message(sockDiagByFamily, 4, body), one...), message(unix.NLMSG_DONE, 5, make([]byte, 4))...), domain.TCP, 5)
	require.NoError(t, err)
	require.True(t, end)
	require.Equal(t, []socket{{protocol: domain.TCP, addr: netip.MustParseAddrPort("10.0.0.1:80"), cgroup: 77}}, got)

	failure := make([]byte, 4)
	refused := -int32(unix.EPERM)
	binary.NativeEndian.PutUint32(failure, uint32(refused))
	_, _, err = parse(nil, message(unix.NLMSG_ERROR, 5, failure), domain.TCP, 5)
	require.ErrorIs(t, err, unix.EPERM)
	for cut := 1; cut < len(one); cut++ {
		_, _, err = parse(nil, one[:cut], domain.TCP, 5)
		require.ErrorIs(t, err, errShort)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(sockDiagByFamily, 1, make([]byte, sizeofAnswer+12)))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, _ := parse(nil, b, domain.UDP, 1)
		for _, s := range all {
			require.NotZero(t, s.addr.Port())
			require.False(t, s.addr.Addr().Is4In6())
		}
	})
}

func TestNothingIsDoneWithoutContainers(t *testing.T) {
	told := make(chan []domain.GuestListener, 10)
	w := New(func(l []domain.GuestListener) { told <- l }, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); w.Run(t.Context()) }()
	w.SetContainers(nil)
	w.SetContainers([]string{strings.Repeat("e", 64)})
	time.Sleep(2 * period)
	require.Empty(t, told, "it has no sockets")
	w.SetContainers(nil)
	require.Eventually(t, func() bool { return len(w.changed) == 0 }, 5*time.Second, time.Millisecond)
	t.Cleanup(func() { <-done })
}
