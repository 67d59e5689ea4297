package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// count adds one to the number in a file, times over, each time under a lock
// of the kind. Without the lock, processes that count at once lose some.
func count(file, kind string, times int) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	lock, ok := map[string]func(*os.File, bool) error{"flock": flock, "fcntl": fcntlLock, "none": func(*os.File, bool) error { return nil }}[kind]
	if !ok {
		return fmt.Errorf("no lock %q: flock, fcntl or none", kind)
	}
	for range times {
		if err := lock(f, true); err != nil {
			return fmt.Errorf("%s of %s: %w", kind, file, err)
		}
		if err := errors.Join(addOne(f), lock(f, false)); err != nil {
			return fmt.Errorf("count in %s: %w", file, err)
		}
	}
	return nil
}

func addOne(f *os.File) error {
	var text [32]byte
	n, err := unix.Pread(int(f.Fd()), text[:], 0)
	if err != nil {
		return err
	}
	value := 0
	if n > 0 {
		if value, err = strconv.Atoi(strings.TrimSpace(string(text[:n]))); err != nil {
			return err
		}
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", value+1), 0)
	return err
}

func flock(f *os.File, take bool) error {
	how := unix.LOCK_UN
	if take {
		how = unix.LOCK_EX
	}
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func fcntlLock(f *os.File, take bool) error {
	lock := unix.Flock_t{Type: unix.F_UNLCK}
	if take {
		lock.Type = unix.F_WRLCK
	}
	for {
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLKW, &lock); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func countIn(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
