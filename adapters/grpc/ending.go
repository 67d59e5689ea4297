package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"arcbox/domain"
)

// ending is the interceptors that end the calls under way when the server
// closes: their contexts end, streams are over without an error, and other calls
// fail with domain.ErrShuttingDown.
type ending struct {
	closing context.Context
	reads   sync.WaitGroup // reads that their handlers no longer wait for
}

func (e *ending) unary(client context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, cancel := e.context(client)
	defer cancel()
	resp, err := next(ctx, req)
	if e.ended(client, err) {
		err = fmt.Errorf("%w: %w", domain.ErrShuttingDown, err)
	}
	return resp, err
}

func (e *ending) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := e.context(stream.Context())
	defer cancel()
	err := next(srv, &endingStream{ServerStream: stream, ctx: ctx, ending: e})
	if e.ended(stream.Context(), err) {
		return nil
	}
	return err
}

// context is a client's context that ends with the server, too.
func (e *ending) context(client context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(client)
	stop := context.AfterFunc(e.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// ended says whether a handler gave up because the server closes.
func (e *ending) ended(client context.Context, err error) bool {
	if err == nil || e.closing.Err() == nil || client.Err() != nil {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, domain.ErrCanceled) || errors.Is(err, io.EOF) ||
		status.Code(err) == codes.Canceled
}

// endingStream is a stream whose context and reads end with the server.
type endingStream struct {
	grpc.ServerStream
	ctx    context.Context
	ending *ending
}

func (s *endingStream) Context() context.Context { return s.ctx }

// RecvMsg returns io.EOF when the server closes. The read itself goes on until
// the handler has returned; m must not be used after an error.
func (s *endingStream) RecvMsg(m any) error {
	read := make(chan error, 1)
	s.ending.reads.Go(func() { read <- s.ServerStream.RecvMsg(m) })
	select {
	case err := <-read:
		return err
	case <-s.ending.closing.Done():
		return io.EOF
	}
}
