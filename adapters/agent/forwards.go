package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.ForwardSource = (*session)(nil)

const (
	// bindLimit is how long the host may take for one port. The guest waits
	// 8.5 seconds, and the engine in it 16.
	bindLimit = 7 * time.Second
	// bindsAtOnce bounds how many leases are worked on at a time.
	bindsAtOnce = 64
)

// Forwards implements port.ForwardSource.
func (s *session) Forwards(ctx context.Context, h port.ForwardHandler) error {
	return s.keepOpen(ctx, "forwards", "publish ports", func(ctx context.Context) error { return s.forwardsOnce(ctx, h) })
}

// forwardsOnce serves one stream and returns when nothing of it runs any more.
func (s *session) forwardsOnce(ctx context.Context, h port.ForwardHandler) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := s.client.Forwards(ctx)
	if err != nil {
		return fmt.Errorf("open the stream of forwards: %w", err)
	}
	f := &forwards{handler: h, stream: stream, fail: cancel, leases: map[string]*leaseWork{}, slots: make(chan struct{}, bindsAtOnce)}
	// In this order: what runs must be told to end before it is waited for.
	defer f.running.Wait()
	defer cancel(nil)
	err = f.receive(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// forwards is one stream.
type forwards struct {
	handler port.ForwardHandler
	stream  grpc.BidiStreamingClient[agentv1.ForwardsRequest, agentv1.ForwardsResponse]
	fail    context.CancelCauseFunc
	slots   chan struct{} // one for each lease that is worked on
	running sync.WaitGroup
	sending sync.Mutex

	mu     sync.Mutex
	leases map[string]*leaseWork
}

var errNoSnapshot = errors.New("the guest agent did not begin with its leases")

func (f *forwards) receive(ctx context.Context) error {
	first, err := f.stream.Recv()
	if err != nil {
		return fmt.Errorf("read the stream of forwards: %w", err)
	}
	if first.GetSnapshot() == nil {
		return fmt.Errorf("%w: %w", errNoSnapshot, domain.ErrProtocol)
	}
	for m := first; ; {
		if err := f.take(ctx, m, m == first); err != nil {
			return err
		}
		if m, err = f.stream.Recv(); err != nil {
			return fmt.Errorf("read the stream of forwards: %w", err)
		}
	}
}

// take starts what a message asks for. An error ends the stream.
func (f *forwards) take(ctx context.Context, m *agentv1.ForwardsResponse, first bool) error {
	switch e := m.Event.(type) {
	case *agentv1.ForwardsResponse_Snapshot:
		if !first {
			return fmt.Errorf("the guest agent sent its leases twice: %w", domain.ErrProtocol)
		}
		leases, err := toLeases(e.Snapshot)
		if err != nil {
			return err
		}
		for _, l := range leases {
			f.leases[l.ID] = &leaseWork{lease: l}
		}
		f.handler.Reset(leases)
		return nil
	case *agentv1.ForwardsResponse_Bind:
		return f.bind(ctx, e.Bind)
	case *agentv1.ForwardsResponse_Release:
		return f.release(ctx, e.Release.GetId())
	case *agentv1.ForwardsResponse_Listeners:
		listeners, err := toListeners(e.Listeners)
		if err != nil {
			return err
		}
		f.handler.Listeners(listeners)
		return nil
	}
	return nil // of a newer agent
}

// send may be called by any goroutine. Its failure ends the stream.
func (f *forwards) send(m *agentv1.ForwardsRequest) {
	f.sending.Lock()
	defer f.sending.Unlock()
	if err := f.stream.Send(m); err != nil {
		f.fail(fmt.Errorf("write the stream of forwards: %w", err))
	}
}

func (f *forwards) answer(id string, err error) {
	text := ""
	if err != nil {
		text = clean(errorText(err), maxDetail, false)
	}
	f.send(&agentv1.ForwardsRequest{Event: &agentv1.ForwardsRequest_Answer{Answer: &agentv1.ForwardAnswer{Id: id, Error: text}}})
}

func (f *forwards) released(id string) {
	f.send(&agentv1.ForwardsRequest{Event: &agentv1.ForwardsRequest_Released{Released: &agentv1.ForwardReleased{Id: id}}})
}

// errorText is what the user of `docker run` reads; never empty.
func errorText(err error) string {
	text := err.Error()
	if h := domain.Hint(err); h != "" {
		text += " (" + h + ")"
	}
	if text == "" {
		text = "refused"
	}
	return text
}
