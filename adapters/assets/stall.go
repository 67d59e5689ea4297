package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"arcbox/domain"
)

// stallReader ends a transfer in which nothing arrives for a while. There is no
// limit on the whole: a slow line may take as long as it needs.
type stallReader struct {
	body   io.ReadCloser
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	stall  error
	fired  chan struct{}
}

func newStallReader(body io.ReadCloser, limit time.Duration, cancel context.CancelCauseFunc) *stallReader {
	s := &stallReader{
		body: body, limit: limit, cancel: cancel, fired: make(chan struct{}),
		stall: fmt.Errorf("nothing arrived for %s: %w", limit, domain.ErrTimeout),
	}
	s.timer = time.AfterFunc(limit, func() {
		close(s.fired)
		cancel(s.stall)
	})
	return s
}

func (s *stallReader) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		select {
		case <-s.fired:
			return n, s.stall
		default:
		}
	}
	if n > 0 && s.timer.Stop() {
		s.timer.Reset(s.limit)
	}
	return n, err
}

// Close also ends the request.
func (s *stallReader) Close() error {
	s.timer.Stop()
	s.cancel(context.Canceled)
	return s.body.Close()
}
