//go:build linux

package device

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/vhostuser"
)

func TestSendCredit(t *testing.T) {
	for _, c := range []struct {
		name             string
		sent, alloc, fwd uint32
		ok               bool
		room             uint32
	}{
		{"nothing known", 0, 0, 0, true, 0},
		{"all free", 0, 100, 0, true, 100},
		{"part used", 60, 100, 10, true, 50},
		{"full", 100, 100, 0, true, 0},
		{"space shrunk below what is on the way", 80, 50, 0, true, 0},
		{"counters wrapped", 10, 100, math.MaxUint32 - 9, true, 80},
		{"read more than was sent", 10, 100, 11, false, 0},
		{"read more than was sent, wrapped", math.MaxUint32, 100, 0, false, 0},
		{"all of the number space", 0, math.MaxUint32, 0, true, 1 << 30},
		{"huge space, much on the way", 1 << 30, math.MaxUint32, 0, true, 0},
	} {
		credit := sendCredit{sent: c.sent, fwd: c.sent}
		require.Equal(t, c.ok, credit.update(c.alloc, c.fwd), c.name)
		require.Equal(t, c.room, credit.room(), c.name)
	}
}

func TestRecvBufIsAQueue(t *testing.T) {
	var pool chunkPool
	b := recvBuf{pool: &pool}
	random := rand.New(rand.NewPCG(1, 2))
	var want, got []byte
	for range 2000 {
		p := make([]byte, random.IntN(3*chunkSize/2))
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		b.write(p)
		want = append(want, p...)
		out := make([]byte, random.IntN(3*chunkSize/2))
		got = append(got, out[:b.read(out)]...)
		require.Equal(t, len(want)-len(got), b.len())
		require.LessOrEqual(t, (len(b.chunks)-2)*chunkSize, b.len())
	}
	out := make([]byte, b.len())
	got = append(got, out[:b.read(out)]...)
	require.True(t, bytes.Equal(want, got))
	require.Empty(t, b.chunks, "an empty buffer holds no memory")
	b.write(make([]byte, 100))
	b.drop()
	require.Zero(t, b.len())
	require.Empty(t, b.chunks)
}

func TestScatterAndGather(t *testing.T) {
	h := header{srcCID: 2, dstCID: 3, srcPort: 4, dstPort: 5, typ: 1, op: opRW, flags: 6, alloc: 7, fwd: 8}
	data := []byte("a payload of some length")
	for cut := 1; cut < headerLen+len(data); cut++ {
		mem := make([]byte, headerLen+len(data))
		segs := []vhostuser.Segment{{Mem: mem[:cut], Writable: true}, {Mem: mem[cut:], Writable: true}}
		require.Equal(t, len(data), scatter(segs, h, data, newIdleMux(t).rx))
		got, payload, ok := gather([]vhostuser.Segment{{Mem: mem[:cut]}, {Mem: mem[cut:]}})
		require.True(t, ok)
		want := h
		want.len = uint32(len(data))
		require.Equal(t, want, got)
		require.Equal(t, len(data), readable(payload))
		var b []byte
		for _, s := range payload {
			b = append(b, s.Mem...)
		}
		require.Equal(t, data, b)
	}
	require.Equal(t, -1, scatter([]vhostuser.Segment{{Mem: make([]byte, 43), Writable: true}, {Mem: make([]byte, 100)}}, h, nil, newIdleMux(t).rx))
	require.Equal(t, 3, scatter([]vhostuser.Segment{{Mem: make([]byte, 47), Writable: true}}, h, data, newIdleMux(t).rx))
	_, _, ok := gather([]vhostuser.Segment{{Mem: make([]byte, 43)}, {Mem: make([]byte, 100), Writable: true}})
	require.False(t, ok)
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		waiting := d.done()
		d.at(time.Now().Add(time.Second))
		time.Sleep(999 * time.Millisecond)
		require.False(t, isClosed(waiting))
		d.at(time.Now().Add(time.Second)) // later, while somebody waits
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		require.False(t, isClosed(waiting))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.True(t, isClosed(waiting))
		d.at(time.Time{})
		require.False(t, isClosed(d.done()))
		d.at(time.Now())
		require.True(t, isClosed(d.done()))
	})
}

func TestStreamDeadlinesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newIdleMux(t)
		s := newStream(m, streamKey{host: 1, guest: 2})
		start := time.Now()
		require.NoError(t, s.SetDeadline(start.Add(time.Minute)))
		_, err := s.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = s.Write(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

func TestLingerOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newIdleMux(t)
		open := func() *Stream {
			s, err := m.register(5)
			require.NoError(t, err)
			m.lingerFor(s)
			return s
		}
		a := open()
		time.Sleep(lingerTime / 2)
		b := open()
		over, next := m.expired(time.Now())
		require.Empty(t, over)
		require.Equal(t, lingerTime/2, next)
		time.Sleep(next)
		over, next = m.expired(time.Now())
		require.Equal(t, []*Stream{a}, over)
		require.Equal(t, lingerTime/2, next)
		m.drop(b) // confirmed by the guest
		over, next = m.expired(time.Now())
		require.Empty(t, over)
		require.Zero(t, next)
	})
}

func TestOutboxSendsOneOfEach(t *testing.T) {
	m := newIdleMux(t)
	var o outbox
	s, gone := newStream(m, streamKey{1, 2}), newStream(m, streamKey{3, 4})
	for range 3 {
		o.post(s, wantCreditUpdate, 0)
		o.post(s, wantCreditRequest, 0)
	}
	o.post(s, wantShutdown, shutSend)
	o.post(s, wantShutdown, shutReceive)
	o.post(gone, wantRequest, 0)
	o.post(gone, wantRst, 0) // a dial that was given up before the guest heard of it
	o.strays = append(o.strays, header{op: opRst, srcPort: 99})
	var ops []uint16
	for !o.empty() {
		h, s, ok := o.next()
		require.True(t, ok)
		ops = append(ops, h.op)
		if h.op == opShutdown {
			require.EqualValues(t, shutBoth, h.flags)
		}
		o.taken(h.op, s)
	}
	require.Equal(t, []uint16{opRst, opCreditUpdate, opCreditRequest, opShutdown}, ops)
	o.post(s, wantCreditUpdate, 0)
	o.post(s, wantRst, 0)
	h, s, _ := o.next()
	require.EqualValues(t, opRst, h.op)
	o.taken(h.op, s)
	require.True(t, o.empty(), "a reset replaces the rest")
}

func TestWaitErrorNamesWhatWasAwaited(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(os.ErrClosed)
	err := waitError(ctx, "the answer")
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorContains(t, err, "waiting for the answer")
}
