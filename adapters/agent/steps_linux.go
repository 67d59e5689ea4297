package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// followSteps calls f when the host's clock was set and when the host has woken
// up, until ctx ends. The kernel ends the wait for a time of day with ECANCELED
// then: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.
func followSteps(ctx context.Context, log *slog.Logger, f func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		log.Debug("steps of the host's clock are only looked for", "error", err)
		return
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
		case err != nil:
			log.Debug("steps of the host's clock are only looked for", "error", err)
			return
		}
	}
}
