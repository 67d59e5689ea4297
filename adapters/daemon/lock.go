// Package daemon is the daemon as a process: the lock that says that one runs
// on a data directory, and starting and stopping it from another process.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"arcbox/adapters/internal/localsocket"
	"arcbox/domain"
)

// Paths are the files of the daemon below a data directory.
type Paths struct{ DataDir string }

// RunDir holds sockets and locks.
func (p Paths) RunDir() string { return filepath.Join(p.DataDir, "run") }

// GRPCSocket is the API for IDEs and the command line.
func (p Paths) GRPCSocket() string { return filepath.Join(p.RunDir(), "arcbox.sock") }

// LogDir holds the logs of the daemon and of the guest.
func (p Paths) LogDir() string { return filepath.Join(p.DataDir, "log") }

// Log is the daemon's log.
func (p Paths) Log() string { return filepath.Join(p.LogDir(), "daemon.log") }

func (p Paths) lock() string      { return filepath.Join(p.RunDir(), "daemon.lock") }
func (p Paths) spawnLock() string { return filepath.Join(p.RunDir(), "daemon-spawn.lock") }

// CheckSocketPath refuses, as domain.ErrInvalid, a path that no Unix socket can
// have.
func CheckSocketPath(path string) error { return localsocket.CheckPath(path) }

// Lock is held by the one daemon of a data directory. The kernel releases it
// when the process ends, however it ends; the file stays.
type Lock struct{ lock *flock.Flock }

// Acquire makes the run directory and takes the lock. When another daemon has
// it, the error is domain.ErrAlreadyRunning and names the process.
func Acquire(p Paths) (*Lock, error) {
	if err := CheckSocketPath(p.GRPCSocket()); err != nil {
		return nil, err
	}
	if err := localsocket.MakePrivate(p.RunDir()); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	l := flock.New(p.lock(), flock.SetPermissions(0o600))
	// A probe holds the lock for a moment; a daemon, for as long as it runs.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ok, err := l.TryLockContext(ctx, 10*time.Millisecond)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("daemon lock %s: %w", p.lock(), err)
	}
	if !ok {
		return nil, fmt.Errorf("%w on %s%s", domain.ErrAlreadyRunning, p.DataDir, pidText(readPID(p.lock())))
	}
	// The number is for people and messages; who runs is decided by the lock.
	if err := os.WriteFile(p.lock(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("daemon lock: %w", err), l.Unlock())
	}
	return &Lock{l}, nil
}

// Release gives the lock back; the file is kept, without the process's number.
func (l *Lock) Release() error {
	return errors.Join(os.Truncate(l.lock.Path(), 0), l.lock.Unlock())
}

// Probe says whether a daemon holds the lock, and its process id (0 unknown).
func Probe(p Paths) (pid int, running bool, err error) {
	if _, err := os.Stat(p.lock()); errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	l := flock.New(p.lock(), flock.SetPermissions(0o600))
	// A shared lock, so that two probes never take each other for a daemon.
	free, err := l.TryRLock()
	if err != nil {
		return 0, false, fmt.Errorf("daemon lock %s: %w", p.lock(), err)
	}
	if free {
		return 0, false, l.Unlock()
	}
	return readPID(p.lock()), true, nil
}

func readPID(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

func pidText(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
