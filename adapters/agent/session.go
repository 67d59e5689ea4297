package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

// session implements port.AgentSession over one connection.
type session struct {
	agents *Agents
	name   domain.MachineName
	dialer port.Dialer
	hello  domain.AgentHello
	conn   *grpc.ClientConn
	client agentv1.AgentServiceClient
	log    *slog.Logger
	// silence is how long the guest may give no sign of life.
	silence time.Duration
	// paused says that the machine stands still and is silent for that.
	paused  func() bool
	stepped chan struct{}           // the host's clock was set
	skewed  chan struct{}           // the guest's clock was seen to be wrong
	end     context.CancelCauseFunc // ends the goroutines; the first cause stays
	wg      sync.WaitGroup
	done    chan struct{}

	mu      sync.Mutex
	status  domain.GuestStatus
	changed chan struct{}
	err     error
}

var (
	_ port.AgentSession = (*session)(nil)
	_ port.Trimmer      = (*session)(nil)
)

// errClosed is the cause of a session's end by Close.
var errClosed = errors.New("the session with the guest agent was closed")

// newSession starts the streams. They outlive ctx, of which only the values
// are kept.
func (a *Agents) newSession(ctx context.Context, name domain.MachineName, d port.Dialer, conn *grpc.ClientConn, client agentv1.AgentServiceClient, hello domain.AgentHello, silence time.Duration) *session {
	ctx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &session{
		silence: silence, paused: pausedBy(d), stepped: make(chan struct{}, 1), skewed: make(chan struct{}, 1),
		agents: a, name: name, dialer: d, hello: hello, conn: conn, client: client, end: end,
		log:     a.cfg.Log.With("machine", name),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	s.wg.Go(func() { end(s.watch(ctx)) })
	s.wg.Go(func() { s.keepClock(ctx) })
	s.wg.Go(func() { followSteps(ctx, s.log, func() { nudge(s.stepped) }) })
	s.wg.Go(func() { s.followLogs(ctx) })
	s.wg.Go(func() {
		<-ctx.Done()
		s.finish(context.Cause(ctx))
	})
	return s
}

func (s *session) finish(cause error) {
	s.mu.Lock()
	s.err = cause
	s.mu.Unlock()
	if !errors.Is(cause, errClosed) {
		s.log.Info("guest agent gone", "error", cause)
	}
	close(s.done)
	// Calls that wait for the guest end with the connection.
	_ = s.conn.Close()
}

// Hello implements port.AgentSession.
func (s *session) Hello() domain.AgentHello { return s.hello }

// Status implements port.AgentSession.
func (s *session) Status() (domain.GuestStatus, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, s.changed
}

// Done implements port.AgentSession.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements port.AgentSession.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close implements port.AgentSession.
func (s *session) Close() error {
	s.end(errClosed)
	s.wg.Wait()
	return nil
}

// Shutdown implements port.AgentSession.
func (s *session) Shutdown(ctx context.Context, grace time.Duration) error {
	if grace < 0 {
		return fmt.Errorf("shut the guest down within %s: %w", grace, domain.ErrInvalid)
	}
	seconds := uint32((grace + time.Second - 1) / time.Second)
	answer, err := s.client.Shutdown(ctx, &agentv1.ShutdownRequest{GraceSeconds: seconds})
	if err != nil {
		return fmt.Errorf("ask the guest agent to shut down: %w", kindOf(err))
	}
	if !answer.Accepted {
		return fmt.Errorf("ask the guest agent to shut down: it refused: %w", domain.ErrInvalidState)
	}
	return nil
}

// Trim implements port.Trimmer.
func (s *session) Trim(ctx context.Context) (uint64, error) {
	answer, err := s.client.Trim(ctx, &agentv1.TrimRequest{})
	if err != nil {
		return 0, fmt.Errorf("have the guest give unused blocks back: %w", kindOf(err))
	}
	return answer.TrimmedBytes, nil
}

// pausedBy asks the machine behind d whether it stands still; one that cannot
// does not.
func pausedBy(d port.Dialer) func() bool {
	p, ok := d.(port.Pausing)
	if !ok {
		return func() bool { return false }
	}
	return func() bool { why, _ := p.Paused(); return why != "" }
}

// nudge leaves one message in a channel that holds one.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// kindOf adds the domain's kind to an error of gRPC.
func kindOf(err error) error {
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", err, domain.ErrTimeout)
	case codes.Canceled:
		return fmt.Errorf("%w: %w", err, domain.ErrCanceled)
	case codes.InvalidArgument:
		return fmt.Errorf("%w: %w", err, domain.ErrInvalid)
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %w", err, domain.ErrInvalidState)
	case codes.Unimplemented:
		return domain.WithHint(fmt.Errorf("%w: %w", err, domain.ErrProtocol), updateGuest)
	case codes.Unavailable:
		return fmt.Errorf("%w: %w", err, domain.ErrAgentLost)
	}
	return err
}

// watch takes over the pushed status until the agent is gone or ctx ends, and
// returns why.
func (s *session) watch(ctx context.Context) error {
	silence := s.silence
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var quiet *time.Timer
	quiet = time.AfterFunc(time.Hour, func() {
		if s.paused() {
			quiet.Reset(silence)
			return
		}
		cancel(fmt.Errorf("no sign of life for %s: %w", silence, domain.ErrAgentLost))
	})
	quiet.Reset(silence)
	defer quiet.Stop()
	stream, err := s.client.Watch(ctx, &agentv1.WatchRequest{})
	for err == nil {
		var m *agentv1.WatchResponse
		if m, err = stream.Recv(); err != nil {
			break
		}
		quiet.Reset(silence)
		if st := m.GetStatus(); st != nil {
			s.setStatus(toStatus(st))
		}
		if beat := m.GetHeartbeat(); beat != nil && s.wrong(beat) {
			nudge(s.skewed)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("watch the guest agent: %w: %w", err, domain.ErrAgentLost)
}

func (s *session) setStatus(g domain.GuestStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = g
	close(s.changed)
	s.changed = make(chan struct{})
}
