package qmp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestHandshakeWithEventsInBetween(t *testing.T) {
	conn, s := pair(t)
	wait := later(func() {
		s.send(`{"event": "EARLY", "timestamp": {"seconds": 5, "microseconds": 7}}`)
		s.send(greeting)
		r := s.receive()
		require.Equal(t, "qmp_capabilities", r.Execute)
		s.send(`{"event": "RESUME", "data": {"a": 1}}`)
		s.send(`{"return": {}}`) // not ours: it has no id
		s.send(`{"return": {}, "id": %d}`, r.ID)
	})
	c, err := Connect(t.Context(), conn, Options{})
	wait()
	require.NoError(t, err)
	defer c.Close()
	e := <-c.Events()
	require.Equal(t, "EARLY", e.Name)
	require.True(t, e.Time.Equal(time.Unix(5, 7000)))
	e = <-c.Events()
	require.Equal(t, "RESUME", e.Name)
	require.JSONEq(t, `{"a": 1}`, string(e.Data))
}

func TestHandshakeFails(t *testing.T) {
	short := Options{Limits: Limits{Heavy: 50 * time.Millisecond}}
	tests := map[string]struct {
		serve func(*server)
		is    error
		says  string
	}{
		"silent server":  {func(*server) {}, domain.ErrTimeout, "greeting"},
		"no reply":       {func(s *server) { s.send(greeting); s.receive() }, domain.ErrTimeout, "qmp_capabilities"},
		"closed at once": {func(s *server) { s.conn.Close() }, ErrDisconnected, "greeting"},
		"closed after the greeting": {func(s *server) {
			s.send(greeting)
			s.receive()
			s.conn.Close()
		}, ErrDisconnected, "qmp_capabilities"},
		"not QMP": {func(s *server) { s.send("220 mail ESMTP") }, ErrDisconnected, "no JSON"},
		"refused": {func(s *server) {
			s.send(greeting)
			s.send(`{"error": {"class": "GenericError", "desc": "no"}, "id": %d}`, s.receive().ID)
		}, nil, "QEMU refused qmp_capabilities: no"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			conn, s := pair(t)
			wait := later(func() { tt.serve(s) })
			c, err := Connect(t.Context(), conn, short)
			wait()
			require.Nil(t, c)
			require.ErrorContains(t, err, tt.says)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			_, err = conn.Write([]byte("x"))
			require.Error(t, err, "the connection is closed")
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		conn, _ := pair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Connect(ctx, conn, Options{})
		require.ErrorIs(t, err, domain.ErrCanceled)
	})
}

func TestExecute(t *testing.T) {
	c, s := connected(t, Options{})
	wait := later(func() {
		r := s.receive()
		require.Equal(t, "balloon", r.Execute)
		require.JSONEq(t, `{"value": 42}`, string(r.Arguments))
		s.send(`{"return": {"status": "running"}, "id": %d}`, r.ID)
	})
	var result struct{ Status string }
	require.NoError(t, c.Execute(t.Context(), "balloon", map[string]int{"value": 42}, &result))
	wait()
	require.Equal(t, "running", result.Status)
}

func TestRefusals(t *testing.T) {
	c, s := connected(t, Options{})
	for class, kind := range map[string]error{
		"CommandNotFound": domain.ErrUnsupported,
		"DeviceNotFound":  domain.ErrNotFound,
		"DeviceNotActive": domain.ErrInvalidState,
		"GenericError":    nil,
	} {
		wait := later(func() {
			s.send(`{"id": %d, "error": {"class": %q, "desc": "because"}}`, s.receive().ID, class)
		})
		err := c.Execute(t.Context(), "some", nil, nil)
		wait()
		var refused *CommandError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, CommandError{Command: "some", Class: class, Desc: "because"}, *refused)
		if kind != nil {
			require.ErrorIs(t, err, kind)
		}
		require.NotErrorIs(t, err, domain.ErrTimeout)
	}
}

func TestUnexpectedReplies(t *testing.T) {
	c, s := connected(t, Options{})
	t.Run("not of the wanted type", func(t *testing.T) {
		wait := later(func() { s.send(`{"return": 4, "id": %d}`, s.receive().ID) })
		var result struct{}
		require.ErrorIs(t, c.Execute(t.Context(), "x", nil, &result), domain.ErrCorrupt)
		wait()
	})
	t.Run("arguments that cannot be sent", func(t *testing.T) {
		require.ErrorIs(t, c.Execute(t.Context(), "x", make(chan int), nil), domain.ErrInvalid)
	})
	t.Run("foreign ids are nobody's", func(t *testing.T) {
		wait := later(func() {
			r := s.receive()
			for _, id := range []string{`"1"`, `null`, `{}`, `-1`, `0`, `99999`, `1.5`} {
				s.send(`{"return": "wrong", "id": %s}`, id)
			}
			s.send(`{"id": %d}`, r.ID) // neither return nor error
			s.send(`{"return": "right", "id": %d}`, r.ID)
			s.send(`{"return": "again", "id": %d}`, r.ID)
		})
		var result string
		require.NoError(t, c.Execute(t.Context(), "x", nil, &result))
		wait()
		require.Equal(t, "right", result)
	})
}

func TestRepliesOutOfOrder(t *testing.T) {
	const n = 50
	c, s := connected(t, Options{})
	wait := later(func() {
		var all []request
		for range n {
			all = append(all, s.receive())
		}
		for i := n - 1; i >= 0; i-- {
			s.send(`{"return": %q, "id": %d}`, all[i].Execute, all[i].ID)
		}
	})
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			var got string
			name := fmt.Sprintf("command-%d", i)
			if err := c.Execute(t.Context(), name, nil, &got); err != nil || got != name {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		})
	}
	callers.Wait()
	wait()
}

func TestLargeReply(t *testing.T) {
	c, s := connected(t, Options{})
	text := strings.Repeat("0123456789abcdef", 3<<16) // 3 MiB
	wait := later(func() { s.send(`{"return": %q, "id": %d}`, text, s.receive().ID) })
	var result string
	require.NoError(t, c.Execute(t.Context(), "query-qmp-schema", nil, &result))
	wait()
	require.Equal(t, text, result)
}

func TestSilentServer(t *testing.T) {
	c, s := connected(t, Options{Limits: Limits{Quick: 30 * time.Millisecond}})
	err := c.Execute(t.Context(), "query-status", nil, nil)
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorContains(t, err, "query-status")
	require.NoError(t, c.Err())

	// The late reply comes before the next one's and is not taken for it.
	wait := later(func() {
		late := s.receive()
		r := s.receive()
		s.send(`{"return": "late", "id": %d}`, late.ID)
		s.send(`{"return": "right", "id": %d}`, r.ID)
	})
	var result string
	require.NoError(t, c.Execute(t.Context(), "query-block", nil, &result))
	wait()
	require.Equal(t, "right", result)
	c.mu.Lock()
	require.Empty(t, c.waiting)
	c.mu.Unlock()
}

func TestCallerGivesUp(t *testing.T) {
	c, s := connected(t, Options{})
	cause := errors.New("the user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	wait := later(func() { s.receive(); cancel(cause) })
	err := c.Execute(ctx, "query-status", nil, nil)
	wait()
	require.ErrorIs(t, err, domain.ErrCanceled)
	require.ErrorIs(t, err, cause)
	require.NoError(t, c.Err())
}

func TestServerThatDoesNotRead(t *testing.T) {
	// The limit leaves time to encode the arguments.
	c, _ := connected(t, Options{Limits: Limits{Quick: 500 * time.Millisecond}})
	big := strings.Repeat("x", 1<<20) // more than the socket takes
	var callers sync.WaitGroup
	for range 3 { // one is stuck in the write, the others wait for it
		callers.Go(func() {
			err := c.Execute(t.Context(), "x", big, nil)
			if !errors.Is(err, ErrDisconnected) && !errors.Is(err, domain.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		})
	}
	callers.Wait()
	// Half a command was sent, so the connection is given up.
	<-c.Done()
	require.ErrorIs(t, c.Err(), ErrDisconnected)
}

func TestDisconnectFailsEverybody(t *testing.T) {
	for name, cut := range map[string]func(*Client, *server){
		"by QEMU":   func(_ *Client, s *server) { s.conn.Close() },
		"by us":     func(c *Client, _ *server) { c.Close() },
		"half line": func(_ *Client, s *server) { _, _ = s.conn.Write([]byte(`{"return"`)); s.conn.Close() },
		"garbage":   func(_ *Client, s *server) { s.send("[]") },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20
			c, s := connected(t, Options{})
			var callers sync.WaitGroup
			for range n {
				callers.Go(func() {
					if err := c.Execute(t.Context(), "x", nil, nil); !errors.Is(err, ErrDisconnected) || !errors.Is(err, domain.ErrUnavailable) {
						t.Errorf("got %v", err)
					}
				})
			}
			for range n {
				s.receive()
			}
			cut(c, s)
			callers.Wait()
			<-c.Done()
			_, open := <-c.Events()
			require.False(t, open)
			require.ErrorIs(t, c.Execute(t.Context(), "x", nil, nil), ErrDisconnected)
		})
	}
}

func TestEventsNeverHoldUpReplies(t *testing.T) {
	const n = 3*eventQueue + 17
	c, s := connected(t, Options{})
	wait := later(func() {
		r := s.receive()
		for i := range n {
			s.send(`{"event": "E%d"}`, i)
		}
		s.send(`{"return": {}, "id": %d}`, r.ID)
	})
	require.NoError(t, c.Execute(t.Context(), "x", nil, nil)) // nobody receives events
	wait()
	require.EqualValues(t, n-eventQueue, c.Dropped())
	for i := n - eventQueue; i < n; i++ {
		require.Equal(t, fmt.Sprintf("E%d", i), (<-c.Events()).Name, "the newest are kept, in order")
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Block: time.Hour}.orDefault()
	require.Equal(t, Limits{Quick: 2 * time.Second, Block: time.Hour, Heavy: 30 * time.Second}, l)
	for command, want := range map[string]time.Duration{
		"quit": l.Quick, "query-status": l.Quick, "balloon": l.Quick, "query-block": l.Quick,
		"blockdev-add": l.Block, "block_resize": l.Block, "device_add": l.Block, "netdev_del": l.Block,
		"chardev-add": l.Block, "object-add": l.Block, "getfd": l.Block, "cont": l.Block,
		"migrate": l.Heavy, "stop": l.Heavy, "snapshot-save": l.Heavy,
	} {
		require.Equal(t, want, l.For(command), command)
	}
}
