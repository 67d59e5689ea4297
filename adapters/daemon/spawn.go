package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"arcbox/adapters/internal/localsocket"
	"arcbox/domain"
)

const (
	spawnTimeout = 15 * time.Second
	pollInterval = 20 * time.Millisecond
	errorTail    = 4 << 10
)

// Spawn starts executable with args as a daemon of its own session, and
// returns its process id as soon as it holds the lock and ready says that it
// serves. A daemon that runs already is domain.ErrAlreadyRunning; one that
// ends early gives the end of what it wrote to standard error.
func Spawn(ctx context.Context, p Paths, executable string, args []string, ready func(context.Context) bool) (int, error) {
	if err := CheckSocketPath(p.GRPCSocket()); err != nil {
		return 0, err
	}
	if err := localsocket.MakePrivate(p.RunDir()); err != nil {
		return 0, fmt.Errorf("run directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, spawnTimeout)
	defer cancel()
	// One start at a time: the second finds the first's daemon.
	l := flock.New(p.spawnLock(), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, pollInterval); err != nil {
		return 0, fmt.Errorf("waiting for another start of the daemon: %w: %w", domain.ErrTimeout, err)
	}
	defer func() { _ = l.Unlock() }()
	if pid, running, err := Probe(p); err != nil {
		return 0, err
	} else if running {
		return pid, fmt.Errorf("%w on %s%s", domain.ErrAlreadyRunning, p.DataDir, pidText(pid))
	}

	removeMessages(p)
	stderr, err := os.CreateTemp(p.RunDir(), startMessages)
	if err != nil {
		return 0, fmt.Errorf("start the daemon: %w", err)
	}
	defer stderr.Close()
	defer os.Remove(stderr.Name())
	//nolint:noctx // the daemon outlives this process
	cmd := exec.Command(executable, args...)
	cmd.Stderr = stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the daemon: %w", err)
	}
	// The daemon outlives this process: nobody waits for it, one only looks.
	defer func() { _ = cmd.Process.Release() }()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return cmd.Process.Pid, fmt.Errorf("the daemon (process %d) goes on starting: %w", cmd.Process.Pid, domain.ErrCanceled)
			}
			return 0, fmt.Errorf("the daemon (process %d) did not serve %s within %s: %w", cmd.Process.Pid, p.GRPCSocket(), spawnTimeout, domain.ErrTimeout)
		case <-tick.C:
			var status syscall.WaitStatus
			if got, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WNOHANG, nil); err == nil && got == cmd.Process.Pid {
				text := fileTail(stderr)
				if text == "" {
					text = fmt.Sprintf("exit status %d", status.ExitStatus())
				}
				return 0, fmt.Errorf("the daemon ended while it started: %s: %w", text, domain.ErrUnavailable)
			}
			if pid, running, _ := Probe(p); running && pid == cmd.Process.Pid && ready(ctx) {
				return pid, nil
			}
		}
	}
}

// startMessages is the pattern of the file that a starting daemon's standard
// error goes to.
const startMessages = "daemon-start-*.err"

// removeMessages removes what starts that were killed left behind. It is called
// with the spawn lock held, so that none of the files is in use.
func removeMessages(p Paths) {
	left, err := filepath.Glob(filepath.Join(p.RunDir(), startMessages))
	if err != nil {
		return // a data directory with a bracket in its name; nothing but a small file stays
	}
	for _, name := range left {
		_ = os.Remove(name)
	}
}

func fileTail(f *os.File) string {
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	at := max(0, st.Size()-errorTail)
	data, _ := io.ReadAll(io.NewSectionReader(f, at, errorTail))
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.TrimPrefix(lines[len(lines)-1], "arcbox: ")
}

// Stop signals the daemon and returns when it has released its lock. A second
// signal, sent with force, makes it drop its virtual machines. It is no error
// when no daemon runs; stopped is false then.
func Stop(ctx context.Context, p Paths, force bool) (stopped bool, err error) {
	pid, running, err := Probe(p)
	if err != nil || !running {
		return false, err
	}
	if pid == 0 {
		return false, fmt.Errorf("a daemon holds %s, but its process id is not there: %w", p.lock(), domain.ErrInvalidState)
	}
	signals := 1
	if force {
		signals = 2
	}
	for i := range signals {
		if i > 0 {
			// The daemon tells two signals apart only if it saw the first.
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // nothing tells that it did
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("stop the daemon (process %d): %w", pid, err)
		}
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, domain.WithHint(fmt.Errorf("the daemon (process %d) is still stopping: %w", pid, domain.ErrTimeout), "arcbox daemon stop --force")
		case <-tick.C:
			if now, running, err := Probe(p); err != nil || !running || now != pid {
				return true, err
			}
		}
	}
}
