package kvm

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/kvm/qmp"
	"arcbox/domain"
)

// scriptedMonitor is QEMU's side of a monitor in the test's hands.
type scriptedMonitor struct {
	conn   net.Conn
	status string // the answer to query-status
	done   chan struct{}

	mu   sync.Mutex
	seen []string
}

func (s *scriptedMonitor) serve() {
	defer close(s.done)
	fmt.Fprintln(s.conn, `{"QMP": {}}`)
	for in := bufio.NewScanner(s.conn); in.Scan(); {
		var r struct {
			Execute string
			ID      uint64
		}
		if json.Unmarshal(in.Bytes(), &r) != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, r.Execute)
		s.mu.Unlock()
		if r.Execute != "quit" { // it hangs
			fmt.Fprintf(s.conn, `{"return": {"status": %q}, "id": %d}`+"\n", s.status, r.ID)
		}
	}
}

func (s *scriptedMonitor) saw(command string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.seen, command)
}

// supervised returns a machine whose QEMU is a sleeping process with a scripted
// monitor.
func supervised(t *testing.T, status string) (*machine, *scriptedMonitor) {
	t.Helper()
	local, remote, err := socketPair("monitor")
	require.NoError(t, err)
	conn, err := net.FileConn(remote)
	require.NoError(t, err)
	require.NoError(t, remote.Close())
	s := &scriptedMonitor{conn: conn, status: status, done: make(chan struct{})}
	go s.serve()
	p, err := startProcess("/bin/sleep", []string{"100"}, nil)
	require.NoError(t, err)
	client, err := qmp.Connect(t.Context(), local, qmp.Options{})
	require.NoError(t, err)
	m := &machine{
		qemu: &qemu{p, client}, quit: 100 * time.Millisecond, rest: 10 * time.Millisecond, settle: 50 * time.Millisecond, pause: newPause(), leave: 50 * time.Millisecond,
		log: quiet(), kill: make(chan struct{}), done: make(chan struct{}),
	}
	go m.supervise()
	t.Cleanup(func() {
		conn.Close()
		<-s.done
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, m.Kill(ctx))
	})
	return m, s
}

func (s *scriptedMonitor) event(text string) { fmt.Fprintln(s.conn, text) }

func TestMachineThatCannotGoOn(t *testing.T) {
	tests := map[string]struct{ status, event, says string }{
		"internal error": {"internal-error", `{"event": "STOP"}`, "internal error"},
		"panic":          {"guest-panicked", `{"event": "STOP"}`, "panicked"},
		"panic event":    {"running", `{"event": "GUEST_PANICKED", "data": {"action": "pause"}}`, "panicked"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			m, s := supervised(t, tt.status)
			s.event(tt.event)
			within(t, 10*time.Second, m.Done(), "the machine's end")
			require.ErrorContains(t, m.Err(), tt.says)
			require.ErrorIs(t, m.Err(), domain.ErrUnavailable)
			require.True(t, s.saw("quit"), "it was asked before it was killed")
		})
	}
}

func TestMachineThatCannotWriteRestsAndGoesOn(t *testing.T) {
	m, s := supervised(t, "io-error")
	s.event(`{"event": "BLOCK_IO_ERROR", "data": {"node-name": "disk1", "nospace": true}}`)
	s.event(`{"event": "STOP"}`)
	require.Eventually(t, func() bool { return s.saw("cont") }, 5*time.Second, time.Millisecond)
	require.NoError(t, m.Err())
	why, changed := m.Paused()
	require.Contains(t, why, "the host's disk is full")
	within(t, 5*time.Second, changed, "the machine to go on")
	why, _ = m.Paused()
	require.Empty(t, why)
}

func TestAMachineIsPausedUntilItsWritesSucceed(t *testing.T) {
	m, s := supervised(t, "io-error")
	_, changed := m.Paused()
	began := time.Now()
	for time.Since(began) < 300*time.Millisecond { // every retry fails
		s.event(`{"event": "STOP"}`)
		time.Sleep(20 * time.Millisecond)
		if why, next := m.Paused(); why == "" {
			require.Less(t, time.Since(began), 100*time.Millisecond, "it went on between two writes that failed")
		} else {
			require.NotEqual(t, changed, next)
		}
	}
}

func TestStorageTrouble(t *testing.T) {
	for data, want := range map[string]string{
		"": "the host's disk is full: ",
		`{"nospace": true, "reason": "No space left on device"}`:   "the host's disk is full: ",
		`{"nospace": false, "reason": "Input/output error"}`:       "the host cannot store the data disk (Input/output error): ",
		`{"nospace": false, "reason": "` + string(make([]byte, 9)): "the host's disk is full: ",
	} {
		require.Contains(t, storageTrouble([]byte(data)), want, data)
	}
}

func TestMachineThatIsPausedOnPurposeIsLeftAlone(t *testing.T) {
	m, s := supervised(t, "paused")
	s.event(`{"event": "STOP"}`)
	require.Eventually(t, func() bool { return s.saw("query-status") }, 5*time.Second, time.Millisecond)
	select {
	case <-m.Done():
		t.Fatalf("the machine is down: %v", m.Err())
	case <-time.After(50 * time.Millisecond):
	}
	require.False(t, s.saw("cont"))
}

func TestMachineWithoutMonitorIsKilled(t *testing.T) {
	noLeak(t)
	m, s := supervised(t, "running")
	begin := time.Now()
	require.NoError(t, s.conn.Close())
	within(t, 10*time.Second, m.Done(), "the machine's end")
	require.GreaterOrEqual(t, time.Since(begin), exitGrace, "it had the time to exit by itself")
	require.ErrorContains(t, m.Err(), "signal: killed")
}

func TestQEMUThatDoesNotExitAfterItsShutdown(t *testing.T) {
	for cause, says := range map[string]string{"guest-shutdown": "", "guest-reset": "reset itself"} {
		t.Run(cause, func(t *testing.T) {
			noLeak(t)
			m, s := supervised(t, "shutdown")
			s.event(fmt.Sprintf(`{"event": "SHUTDOWN", "data": {"guest": true, "reason": %q}}`, cause))
			within(t, 10*time.Second, m.Done(), "the machine's end")
			if says == "" {
				require.NoError(t, m.Err())
			} else {
				require.ErrorContains(t, m.Err(), says)
			}
		})
	}
}
