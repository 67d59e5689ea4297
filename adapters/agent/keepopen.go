package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"arcbox/domain"
)

// The pauses before a stream that broke is opened again.
const (
	firstStreamPause = 50 * time.Millisecond
	lastStreamPause  = 2 * time.Second
	// healthyStream is how long a stream must have lasted for the pause to begin
	// at the first again.
	healthyStream = 10 * time.Second
)

// keepOpen calls once, which serves one stream of the guest until it breaks,
// again and again until ctx ends or the session is over, and returns why. name
// is the stream's, deed what an agent without it cannot do.
func (s *session) keepOpen(ctx context.Context, name, deed string, once func(context.Context) error) error {
	for pause := firstStreamPause; ; {
		begin := time.Now()
		err := once(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%s of machine %s: %w", name, s.name, endOf(ctx))
		case status.Code(err) == codes.Unimplemented:
			return domain.WithHint(fmt.Errorf("the guest agent %s cannot %s: %w", s.hello.Version, deed, domain.ErrProtocol), updateGuest)
		}
		if time.Since(begin) > healthyStream {
			pause = firstStreamPause
		}
		retry := time.NewTimer(pause)
		select {
		case <-s.done:
			retry.Stop()
			return fmt.Errorf("%s of machine %s: %w", name, s.name, s.Err())
		case <-ctx.Done():
			retry.Stop()
			return fmt.Errorf("%s of machine %s: %w", name, s.name, endOf(ctx))
		case <-retry.C:
		}
		s.log.Warn("stream of "+name+" is opened again", "error", err)
		pause = min(2*pause, lastStreamPause)
	}
}
