package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ServeEach accepts until ctx ends, when it returns nil, or l fails for good. It
// calls handle in a goroutine for each connection, which handle owns and gives
// up when its context ends; beyond limit at once it closes them and calls
// refused. It closes l and waits for every handle before it returns.
func ServeEach[C net.Conn](ctx context.Context, l net.Listener, limit int, handle func(context.Context, C), refused func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		_ = l.Close()
	})
	slots := make(chan struct{}, limit)
	for {
		accepted, err := Accept(ctx, l)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c, ok := accepted.(C)
		if !ok {
			_ = accepted.Close()
			return fmt.Errorf("the listener's connections are %T", accepted)
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				handle(ctx, c)
			})
		default:
			_ = c.Close()
			refused()
		}
	}
}

// Accept is l.Accept that outlives failures which pass, such as running out of
// file descriptors.
func Accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		var ne net.Error
		if err == nil || ctx.Err() != nil || errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) || !temporary(err) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}
