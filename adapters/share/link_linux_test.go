package share

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/application/port"
	"arcbox/domain"
)

// driver is the guest's driver of a link's device, one request at a time.
type driver struct {
	t        *testing.T
	fe       *vhosttest.FrontEnd
	priority *vhosttest.VQ
	requests *vhosttest.VQ
	mu       sync.Mutex
}

const driverFeatures = vhostuser.FeatVersion1 | vhostuser.FeatProtocol | vhostuser.FeatEventIdx | vhostuser.FeatIndirect

func plug(t *testing.T, l port.ShareLink) *driver {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: procPath(int(l.File().Fd())), Net: "unix"})
	require.NoError(t, err)
	d := &driver{t: t, fe: vhosttest.NewFrontEndOn(t, conn)}
	d.fe.Handshake(driverFeatures)
	d.priority = vhosttest.NewVQ(t, d.fe, priorityQueue, driverFeatures)
	d.requests = vhosttest.NewVQ(t, d.fe, requestQueue, driverFeatures)
	d.priority.Start(d.fe, 0)
	d.requests.Start(d.fe, 0)
	return d
}

func (d *driver) unplug() {
	d.priority.Close()
	d.requests.Close()
	d.fe.Close()
}

// Offsets in the memory of where a request and its answer are; both cross the border
// of the memory's regions when they are large.
const (
	requestAt = vhosttest.MemSize/2 - 100
	answerAt  = 12 << 20
)

// carry sends a request in several buffers.
func (d *driver) carry(request []byte, size int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.fe.Mem[requestAt:], request)
	clear(d.fe.Mem[answerAt : answerAt+size])
	q, i := d.requests, 0
	add := func(at, n int, flags uint16) {
		q.SetDesc(i, vhosttest.BaseGPA+uint64(at), uint32(n), flags|vhostuser.DescNext, uint16(i+1))
		i++
	}
	for at, left := requestAt, len(request); left > 0; {
		n := min(left, 61)
		if left > 4000 {
			n = min(left, 1<<20)
		}
		add(at, n, 0)
		at, left = at+n, left-n
	}
	add(answerAt, replyLen, vhostuser.DescWrite)
	for at, left := answerAt+replyLen, size-replyLen; left > 0; {
		n := min(left, 700)
		if left > 50000 {
			n = min(left, 300_000)
		}
		add(at, n, vhostuser.DescWrite)
		at, left = at+n, left-n
	}
	require.LessOrEqual(d.t, i, vhosttest.RingSize)
	last := q.Mem[q.Desc+16*(i-1)+12:]
	last[0] &^= vhostuser.DescNext
	old := q.AvailIdx
	q.Offer(0)
	q.Notify(old)
	var count [8]byte
	require.NoError(d.t, q.Call.SetReadDeadline(time.Now().Add(20*time.Second)))
	for {
		if _, n, ok := q.Collect(); ok {
			return append([]byte{}, d.fe.Mem[answerAt:answerAt+int(n)]...)
		}
		if !q.WantSignal() {
			_, err := q.Call.Read(count[:])
			require.NoError(d.t, err)
		}
	}
}

func openLink(t *testing.T, shares ...domain.Share) port.ShareLink {
	s, err := New(Options{Cache: DefaultCache(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	l, err := s.Open("test", shares)
	require.NoError(t, err)
	return l
}

func TestFilesOverTheDevice(t *testing.T) {
	before := openFiles(t)
	dir := t.TempDir()
	l := openLink(t, domain.Share{Path: dir})
	// A hypervisor that does not come up, and one that does; the numbers of the first
	// mean nothing to the second.
	first := plug(t, l)
	g := &guest{t: t, transport: first.carry}
	g.mount()
	stale, errno := g.mkdir(g.walk("0"), "d", 0o755)
	require.Zero(t, errno)
	g.open(opOpendir, stale.NodeId, 0)
	first.unplug()
	d := plug(t, l)
	g.transport = d.carry
	require.Equal(t, unix.EIO, second(g.getattr(rootID)), "before a mount there is nothing")
	g.mount()
	require.Equal(t, unix.ESTALE, second(g.getattr(stale.NodeId)))

	big := make([]byte, maxTransfer)
	for i := range big {
		big[i] = byte(i * 7 / 3)
	}
	e, fh, errno := g.create(g.walk("0", "d"), "big", unix.O_RDWR, 0o644)
	require.Zero(t, errno)
	n, errno := g.write(e.NodeId, fh, 3, unix.O_RDWR, string(big))
	require.Zero(t, errno)
	require.Equal(t, uint32(len(big)), n)
	require.Equal(t, "\x00\x00\x00"+string(big), content(t, dir, "d", "big"))
	got, errno := g.read(e.NodeId, fh, 3, maxTransfer)
	require.Zero(t, errno)
	require.Equal(t, string(big), got)
	got, errno = g.read(e.NodeId, fh, maxTransfer-10, 1000)
	require.Zero(t, errno)
	require.Equal(t, string(big[maxTransfer-13:]), got, "up to the end of the file")
	for i := range 100 {
		put(t, "", dir, "d", fmt.Sprint("entry", i))
	}
	require.Len(t, g.list(opReaddirplus, g.walk("0", "d"), 8192), 103)
	_, errno = call(g, opSyncFS, rootID, struct {
		fuse.InHeader
		padding uint64
	}{}, 0)
	require.Zero(t, errno)
	_, errno = call(g, 99, rootID, fuse.InHeader{}, 0)
	require.Equal(t, unix.ENOSYS, errno)
	_, errno = call(g, opDestroy, 0, fuse.InHeader{}, 0)
	require.Zero(t, errno)
	g.mount()
	g.walk("0", "d", "big")

	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	d.unplug()
	require.Equal(t, before, openFiles(t), "descriptors are left")
	_, err := os.Stat(filepath.Join(dir, "d", "big"))
	require.NoError(t, err)
}

func TestCloseWithoutAHypervisor(t *testing.T) {
	l := openLink(t, domain.Share{Path: t.TempDir()})
	require.NoError(t, l.Close())
}

func TestCloseDuringRequests(t *testing.T) {
	dir := t.TempDir()
	put(t, "x", dir, "f")
	l := openLink(t, domain.Share{Path: dir})
	d := plug(t, l)
	g := &guest{t: t, transport: d.carry}
	g.mount()
	f := g.walk("0", "f")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // raw offers, whose answers nobody waits for
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				old := d.requests.AvailIdx
				d.requests.Offer(0)
				d.requests.Notify(old)
				for {
					if _, _, ok := d.requests.Collect(); !ok {
						break
					}
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	_ = f
	time.Sleep(30 * time.Millisecond)
	require.NoError(t, l.Close())
	close(stop)
	<-stopped
	d.unplug()
}

func TestShareThatCannotBeOpened(t *testing.T) {
	before := openFiles(t)
	s, err := New(Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = s.Open("test", []domain.Share{{Path: dir}, {Path: put(t, "", dir, "file")}})
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "file")
	require.Equal(t, before, openFiles(t))
	_, err = New(Options{DataDir: filepath.Join(dir, "missing")})
	require.ErrorIs(t, err, os.ErrNotExist)
}
