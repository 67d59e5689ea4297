package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// settleTime is how long a second attempt waits for the news that the engine
// that refused the first is over.
const settleTime = 500 * time.Millisecond

// ready returns the role's engine, waiting for the machine to boot if it must.
// wait runs the waiting.
func (s *session) ready(ctx context.Context, role domain.Role, wait waiter) (port.Engine, error) {
	if engine, ok := s.server.engines.Peek(role); ok {
		select {
		case <-engine.Gone():
		default:
			return engine, nil
		}
	}
	var engine port.Engine
	err := wait(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, s.server.opts.Wait)
		defer cancel()
		var err error
		engine, err = s.server.engines.EnsureReady(ctx, role)
		return err
	})
	if err == nil && engine == nil {
		err = domain.ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the Docker engine: %w", err)
	}
	return engine, nil
}

// dial opens a stream to engine, with its watcher but no responder yet.
func (s *session) dial(ctx context.Context, engine port.Engine, role domain.Role) (*upstream, error) {
	dctx, cancel := context.WithTimeout(ctx, s.server.opts.DialTimeout)
	defer cancel()
	stream, err := engine.Dial(dctx)
	if err != nil {
		if statusOf(err) == 500 {
			err = fmt.Errorf("%w: %w", domain.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("connect to the Docker engine: %w", err)
	}
	up := &upstream{engine: engine, role: role, stream: stream, closed: make(chan struct{})}
	s.helper.Go(func() { up.watch(ctx) })
	return up, nil
}

// reuse returns the session's stream if it goes to engine and is sound.
func (s *session) reuse(engine port.Engine, role domain.Role) (*upstream, bool) {
	s.mu.Lock()
	up := s.up
	if up == nil {
		s.mu.Unlock()
		return nil, false
	}
	if !up.dead && !up.deaf && up.role == role && up.engine.Generation() == engine.Generation() {
		s.mu.Unlock()
		return up, true
	}
	up.retired = true
	s.up = nil
	s.mu.Unlock()
	up.close()
	return nil, false
}

// open makes a new stream the session's, with its responder.
func (s *session) open(ctx context.Context, engine port.Engine, role domain.Role) (*upstream, error) {
	up, err := s.dial(ctx, engine, role)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.up, s.passedEOF = up, false
	s.mu.Unlock()
	s.helper.Go(func() { s.respond(ctx, up) })
	return up, nil
}

// settle waits for engine to be known as over, but not for long: what follows
// is a second attempt.
func settle(ctx context.Context, engine port.Engine) error {
	t := time.NewTimer(settleTime)
	defer t.Stop()
	select {
	case <-engine.Gone():
	case <-ctx.Done():
	case <-t.C:
	}
	return ctx.Err()
}

// waiter runs a wait.
type waiter func(ctx context.Context, wait func(context.Context) error) error

// unwatched is for those whose client is being read beside them.
func unwatched(ctx context.Context, wait func(context.Context) error) error { return wait(ctx) }

// watched ends the wait when the client vanishes meanwhile; the error is then
// errVanished. Only the goroutine that reads the client may call it.
func (s *session) watched(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.client.awaitVanishing(); errors.Is(err, errVanished) {
			cancel(errVanished)
		}
	}()
	err := wait(ctx)
	s.client.interrupt()
	<-done
	s.client.resume()
	if err != nil && errors.Is(context.Cause(ctx), errVanished) {
		return errVanished
	}
	return err
}

// goneError says that an engine ended under a request.
func goneError(up *upstream, x *exchange) error {
	err := domain.ErrUnavailable
	what := "the Docker engine closed the connection"
	select {
	case <-up.engine.Gone():
		what, err = "the virtual machine went away", domain.ErrNotRunning
	default:
	}
	return domain.WithHint(
		fmt.Errorf("%s before it answered %s %s: %w", what, x.method, x.route.template(), err),
		"the request may have been carried out; look before repeating it")
}
