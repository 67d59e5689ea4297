package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FollowSteps calls f when the machine's clock was set, by whomever, until ctx
// ends. The kernel ends the wait for a time of day with ECANCELED then:
// timerfd_create(2), TFD_TIMER_CANCEL_ON_SET. It returns nil at the end of ctx.
func FollowSteps(ctx context.Context, f func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("follow steps of the clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd") // the runtime waits for it
	defer context.AfterFunc(ctx, func() { _ = timer.SetReadDeadline(time.Unix(1, 0)) })()
	defer timer.Close()
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 33}}
	buf := make([]byte, 8)
	for ctx.Err() == nil {
		err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
		if err == nil {
			_, err = timer.Read(buf)
		}
		switch {
		case errors.Is(err, syscall.ECANCELED):
			f()
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("follow steps of the clock: %w", err)
		}
	}
	return nil
}
