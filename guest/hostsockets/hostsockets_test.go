package hostsockets

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
	"arcbox/guest/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// boot is a server as it runs in one boot of a guest.
type boot struct {
	*Server
	dir  string // "/run"
	logs *lockedBuffer
	end  func()
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func start(t *testing.T, exists func(string) bool) *boot {
	t.Helper()
	dir, err := os.MkdirTemp("", "h") //nolint:usetesting // t.TempDir has the test's name in it, which leaves sockets too few bytes
	require.NoError(t, err)
	b := &boot{dir: dir, logs: &lockedBuffer{}}
	b.Server = New(Config{Dir: dir + "/sockets", Exists: exists, Log: slog.New(slog.NewTextHandler(b.logs, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx) }()
	b.end = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(func() {
		b.end()
		require.NoError(t, os.RemoveAll(dir))
	})
	return b
}

func (b *boot) agent() domain.GuestSocket {
	return domain.GuestSocket{Service: domain.SSHAgentService, Path: b.dir + "/host-services/ssh-auth.sock"}
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// next is what the host hears next.
func next(t *testing.T, h *Host) Connection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := h.Next(ctx)
	require.NoError(t, err)
	return c
}

// take is what the stream port does.
func take(t *testing.T, b *boot, id string) tunnel.Conn {
	t.Helper()
	c := b.Take(id)
	require.NotNil(t, c)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func refused(t *testing.T, c *net.UnixConn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func exchange(t *testing.T, client, host net.Conn) {
	t.Helper()
	for _, d := range [][2]net.Conn{{client, host}, {host, client}} {
		_, err := d[0].Write([]byte("ping"))
		require.NoError(t, err)
		buf := make([]byte, 4)
		_, err = io.ReadFull(d[1], buf)
		require.NoError(t, err)
		require.Equal(t, "ping", string(buf))
	}
}

func TestAConnectionIsHandedToTheHost(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent()}))
	info, err := os.Stat(b.agent().Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode().Perm(), "for containers of every user")
	info, err = os.Stat(filepath.Dir(b.agent().Path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())

	refused(t, dial(t, b.agent().Path)) // there is no host yet
	h := b.Attach()
	defer h.Close()
	one, two := dial(t, b.agent().Path), dial(t, b.agent().Path)
	first, second := next(t, h), next(t, h)
	require.NotEqual(t, first.ID, second.ID)
	require.Equal(t, Target{Service: domain.SSHAgentService}, first.To)
	h.Refuse("", "nothing")
	h.Refuse("99", "nothing")
	h.Refuse(second.ID, "the agent does not answer")
	c := take(t, b, first.ID)
	require.Nil(t, b.Take(first.ID), "only once")
	require.Nil(t, b.Take(second.ID))
	// Which of the clients came first is the kernel's secret.
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	buf := make([]byte, 1)
	if _, err := io.ReadFull(one, buf); err != nil {
		one, two = two, one
		_, err := io.ReadFull(one, buf)
		require.NoError(t, err)
	}
	exchange(t, one, c)
	refused(t, two)
	require.NoError(t, c.Close())
	_ = c.Close()
	refused(t, one)
	require.Eventually(t, func() bool { return len(b.slots) == 0 }, 5*time.Second, time.Millisecond, "no slot is lost, none is given back twice")
	require.Contains(t, b.logs.String(), "the host does not take connections")
}

func TestServicesAreReplacedAndTheirFilesStay(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.SetServices([]domain.GuestSocket{b.agent(), {Service: "other", Path: b.dir + "/x/other.sock"}}))
	before, err := os.Stat(b.agent().Path)
	require.NoError(t, err)
	h := b.Attach()
	defer h.Close()
	again := b.agent()
	again.Service = "newer"
	require.NoError(t, b.SetServices([]domain.GuestSocket{again}))
	require.NoFileExists(t, b.dir+"/x/other.sock")
	after, err := os.Stat(b.agent().Path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "containers have it mounted")
	c := dial(t, b.agent().Path)
	require.Equal(t, "newer", next(t, h).To.Service)
	require.NoError(t, c.Close())

	for _, bad := range []domain.GuestSocket{
		{Service: "", Path: "/run/a"}, {Service: "a", Path: "run/a"}, {Service: "a", Path: "/run/../a"}, {Service: "a", Path: "/"},
		{Service: "a", Path: "/a\x00b"}, {Service: "a", Path: b.dir + "/sockets/home/me/x"}, {Service: "a", Path: again.Path},
		{Service: "a", Path: "/" + strings.Repeat("x", maxPath)},
	} {
		require.ErrorIs(t, b.SetServices([]domain.GuestSocket{again, bad}), domain.ErrInvalid, "%.40v", bad)
	}
	require.NoError(t, os.WriteFile(b.dir+"/file", nil, 0o600))
	err = b.SetServices([]domain.GuestSocket{{Service: "a", Path: b.dir + "/file"}, again})
	require.ErrorIs(t, err, domain.ErrAlreadyExists)
	require.FileExists(t, b.dir+"/file")
	_ = dial(t, again.Path) // one that cannot be made keeps no other away
}

func TestOffersLastOverBoots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent", "host-sockets.json")
	long := "/home/me/" + strings.Repeat("long/", 60) + "x.sock"
	paths := []string{"/home/me/ä b.sock", "/home/me/with:colon.sock", long}
	first := start(t, nil)
	_, err := first.Offer(paths[0])
	require.ErrorIs(t, err, domain.ErrInvalidState)
	require.NoError(t, first.Load(file))
	var made []string
	for _, p := range paths {
		guest, err := first.Offer(p)
		require.NoError(t, err)
		made = append(made, strings.TrimPrefix(guest, first.dir))
		again, err := first.Offer(p)
		require.NoError(t, err)
		require.Equal(t, guest, again)
		require.NotContains(t, guest, ":")
	}
	require.Equal(t, "/sockets"+paths[0], made[0])
	first.end()
	_, err = first.Offer("/home/me/late")
	require.ErrorIs(t, err, domain.ErrShuttingDown)

	second := start(t, nil)
	require.NoError(t, second.Load(file))
	h := second.Attach()
	defer h.Close()
	for i, p := range paths {
		// A container has it mounted at another path, which may be shorter.
		link := second.dir + "/l"
		require.NoError(t, os.Symlink(second.dir+made[i], link))
		c := dial(t, link)
		got := next(t, h)
		require.Equal(t, Target{HostPath: p}, got.To)
		exchange(t, c, take(t, second, got.ID))
		require.NoError(t, os.Remove(link))
	}
	for _, bad := range []string{"", "x", "/", "/a/", "/a/../b", "/a\x00", "/\xff", "/" + strings.Repeat("x", maxPath)} {
		_, err := second.Offer(bad)
		require.ErrorIs(t, err, domain.ErrInvalid, "%.40q", bad)
	}
	stray, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	require.NoError(t, err)
	require.Equal(t, []string{file}, stray)
	stray, err = filepath.Glob(second.dir + "/sockets/.new*")
	require.NoError(t, err)
	require.Empty(t, stray)
}

func TestABrokenListKeepsNothingElseAway(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":     "{",
		"another one": `[1]`,
		"bad paths":   `{"host_paths": ["/a/../b", "relative", ""]}`,
		"too many":    `{"host_paths": ["` + strings.Join(numbered(maxOffers+1), `","`) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			b, file := start(t, nil), filepath.Join(t.TempDir(), "f")
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			err := b.Load(file)
			require.Error(t, err)
			if name != "too many" {
				guest, err := b.Offer("/home/me/x")
				require.NoError(t, err)
				require.FileExists(t, guest)
			}
		})
	}
}

func numbered(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("/s/%d", i))
	}
	return list
}

func TestWhatCannotBeKeptIsNotOffered(t *testing.T) {
	b, dir := start(t, nil), t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/f", nil, 0o600))
	require.NoError(t, b.Load(dir+"/missing/file"))
	b.changing.Lock()
	b.offers.file = dir + "/f/file" // as on a disk that is full
	b.changing.Unlock()
	_, err := b.Offer("/home/me/x")
	require.Error(t, err)
	require.NoFileExists(t, b.dir+"/sockets/home/me/x")
	require.NoDirExists(t, b.dir+"/sockets/home")
	require.Empty(t, b.offers.paths)
}

func TestASocketInPlaceOfADirectoryAndBack(t *testing.T) {
	b := start(t, nil)
	require.NoError(t, b.Load(filepath.Join(t.TempDir(), "f")))
	for _, p := range []string{"/w/run/a", "/w/run/b", "/w/runner", "/w/run", "/w/run/c"} {
		guest, err := b.Offer(p)
		require.NoError(t, err)
		info, err := os.Stat(guest)
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&os.ModeSocket)
	}
	require.Equal(t, []string{"/w/runner", "/w/run/c"}, b.offers.paths)
	require.NoFileExists(t, b.dir+"/sockets/w/run/a")
	require.Len(t, b.paths(), 2)
}

func TestRoomForOffers(t *testing.T) {
	o := offers{paths: numbered(maxOffers)}
	_, _, err := o.add("/new", func(string) bool { return true })
	require.ErrorIs(t, err, domain.ErrConflict)
	require.NotEmpty(t, domain.Hint(err))
	gone := map[string]bool{"/s/7": true, "/s/9": true}
	next, dropped, err := o.add("/new", func(p string) bool { return !gone[p] })
	require.NoError(t, err)
	require.Equal(t, []string{"/s/7"}, dropped, "the oldest that is gone")
	require.Len(t, next, maxOffers)
	require.Equal(t, "/new", next[maxOffers-1])
	require.NotContains(t, next, "/s/7")
	require.Equal(t, numbered(maxOffers), o.paths, "what is there is not changed")
}
