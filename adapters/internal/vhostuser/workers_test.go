//go:build linux

package vhostuser_test

import (
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
)

const ringFeatures = vhostuser.FeatVersion1 | vhostuser.FeatProtocol | vhostuser.FeatEventIdx | vhostuser.FeatIndirect

// rig is a device with one queue of workers, and a driver of it.
type rig struct {
	t       *testing.T
	server  *vhostuser.Server
	workers *vhostuser.Workers
	fe      *vhosttest.FrontEnd
	vq      *vhosttest.VQ
	served  chan error
}

func newRig(t *testing.T, limit int, features uint64, answer func(*vhostuser.Chain) int) *rig {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	conns := [2]*net.UnixConn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		conns[i] = c.(*net.UnixConn)
	}
	r := &rig{t: t, served: make(chan error, 1)}
	r.server = vhostuser.New(slog.New(slog.DiscardHandler), conns[0], vhostuser.Device{
		Name: "test", Queues: 1,
		Negotiated: func(uint64) {}, Changed: func() {}, Restarted: func(int) {}, Reset: func(string) {},
	})
	r.workers = vhostuser.NewWorkers(r.server.Queue(0), limit, answer, func(error) { r.server.Close() })
	go func() { r.served <- r.server.Serve(nil) }()
	r.fe = vhosttest.NewFrontEndOn(t, conns[1])
	r.fe.Handshake(features)
	r.vq = vhosttest.NewVQ(t, r.fe, 0, features)
	r.vq.Start(r.fe, 0)
	return r
}

const bufs = 1 << 20 // offset in the memory

// offer gives the device chain i: a word to read and one to write.
func (r *rig) offer(i int) {
	at := uint64(vhosttest.BaseGPA + bufs + i*8192)
	r.fe.Mem[bufs+i*8192] = byte(i)
	r.vq.SetDesc(2*i, at, 1, vhostuser.DescNext, uint16(2*i+1))
	r.vq.SetDesc(2*i+1, at+4096, 8, vhostuser.DescWrite, 0)
	old := r.vq.AvailIdx
	r.vq.Offer(uint16(2 * i))
	r.vq.Notify(old)
}

// collect waits for n chains that come back.
func (r *rig) collect(n int) (heads []int) {
	r.t.Helper()
	require.NoError(r.t, r.vq.Call.SetReadDeadline(time.Now().Add(10*time.Second)))
	var count [8]byte
	for len(heads) < n {
		if head, _, ok := r.vq.Collect(); ok {
			heads = append(heads, int(head)/2)
		} else if !r.vq.WantSignal() {
			_, err := r.vq.Call.Read(count[:])
			require.NoError(r.t, err, "%d of %d came back", len(heads), n)
		}
	}
	return heads
}

func (r *rig) close() {
	r.server.Close()
	<-r.served
	r.unplug()
}

func answered(c *vhostuser.Chain) int {
	c.Segments[1].Mem[0] = c.Segments[0].Mem[0] + 1
	return 1
}

func TestSlowChainDoesNotHoldOthers(t *testing.T) {
	for name, features := range map[string]uint64{"event-index": ringFeatures, "flags": ringFeatures &^ vhostuser.FeatEventIdx} {
		t.Run(name, func(t *testing.T) {
			slow, begun := make(chan struct{}), make(chan struct{})
			r := newRig(t, 4, features, func(c *vhostuser.Chain) int {
				if c.Segments[0].Mem[0] == 0 {
					close(begun)
					<-slow
				}
				return answered(c)
			})
			r.offer(0)
			<-begun
			for i := 1; i < 40; i++ {
				r.offer(i)
				require.Equal(t, []int{i}, r.collect(1))
				require.Equal(t, byte(i+1), r.fe.Mem[bufs+i*8192+4096])
			}
			close(slow)
			require.Equal(t, []int{0}, r.collect(1))
			r.close()
		})
	}
}

func TestNoMoreChainsAtATimeThanAllowed(t *testing.T) {
	var now, most atomic.Int64
	r := newRig(t, 3, ringFeatures, func(c *vhostuser.Chain) int {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		now.Add(-1)
		return answered(c)
	})
	for i := range 50 {
		r.offer(i)
	}
	require.Len(t, r.collect(50), 50)
	require.LessOrEqual(t, most.Load(), int64(3))
	require.Greater(t, most.Load(), int64(1))
	r.close()
}

// The memory of a chain stays mapped when the front-end replaces it.
func TestMemoryIsReplacedWhileAChainIsAnswered(t *testing.T) {
	slow, begun := make(chan struct{}), make(chan struct{})
	r := newRig(t, 2, ringFeatures, func(c *vhostuser.Chain) int {
		close(begun)
		<-slow
		return answered(c) // a fatal signal if it is not mapped
	})
	r.offer(5)
	<-begun
	for range 3 {
		r.fe.Do(vhostuser.ReqSetMemTable, vhosttest.MemTableBody(), r.fe.FD, r.fe.FD)
	}
	close(slow)
	require.Equal(t, []int{5}, r.collect(1))
	require.Equal(t, byte(6), r.fe.Mem[bufs+5*8192+4096])
	r.close()
}

// A queue that stops has no chain under way, so that none is lost for the one that
// goes on.
func TestStopWaitsForChains(t *testing.T) {
	begun := make(chan struct{}, 10)
	var done atomic.Int64
	r := newRig(t, 8, ringFeatures, func(c *vhostuser.Chain) int {
		begun <- struct{}{}
		time.Sleep(50 * time.Millisecond)
		done.Add(1)
		return answered(c)
	})
	for i := range 4 {
		r.offer(i)
	}
	for range 4 {
		<-begun
	}
	base := r.fe.Ask(vhostuser.ReqGetVringBase, vhosttest.State(0, 0))
	require.Equal(t, byte(4), base[4])
	require.Equal(t, int64(4), done.Load())
	require.Len(t, r.collect(4), 4)
	r.close()
}

func TestCloseWhileChainsAreAnswered(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(6)
	slow := make(chan struct{})
	r := newRig(t, 6, ringFeatures, func(c *vhostuser.Chain) int {
		begun.Done()
		<-slow
		return answered(c)
	})
	for i := range 6 {
		r.offer(i)
	}
	begun.Wait()
	r.server.Close()
	select {
	case <-r.served:
		t.Fatal("it does not wait for chains")
	case <-time.After(50 * time.Millisecond):
	}
	close(slow)
	require.ErrorIs(t, <-r.served, net.ErrClosed)
	r.unplug()
}

// unplug is close when Serve has returned.
func (r *rig) unplug() {
	r.workers.Wait()
	r.vq.Close()
	r.fe.Close()
}

func TestAnswersAreInTheMigrationLog(t *testing.T) {
	r := newRig(t, 2, ringFeatures|vhostuser.FeatLogAll, answered)
	defer r.close()
	const size = 1 << 17
	fd, err := unix.MemfdCreate("log", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, size))
	log, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { _ = unix.Munmap(log) }()
	r.fe.Ask(vhostuser.ReqSetLogBase, vhosttest.Words(size, 0), fd)
	r.offer(3)
	require.Len(t, r.collect(1), 1)
	dirty := func(gpa uint64) bool {
		page := gpa >> vhosttest.PageShift
		return log[page/8]&(1<<(page%8)) != 0
	}
	require.True(t, dirty(vhosttest.BaseGPA+bufs+3*8192+4096))
	require.False(t, dirty(vhosttest.BaseGPA+bufs+3*8192), "what is only read")
}

func TestBrokenChainEndsTheQueue(t *testing.T) {
	r := newRig(t, 2, ringFeatures, answered)
	r.vq.SetDesc(0, 1, 8, 0, 0) // no memory there
	old := r.vq.AvailIdx
	r.vq.Offer(0)
	r.vq.Notify(old)
	err := <-r.served // the rig's device closes then
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	r.unplug()
}
