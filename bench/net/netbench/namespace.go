//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace: the tap device's traffic stays within one
// of its own. A nil namespace is the one that the benchmark runs in.
type namespace struct{ file *os.File }

func newNamespace() (n *namespace, err error) {
	err = elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		n = &namespace{f}
		return err
	})
	return n, err
}

// do calls f on a thread in the namespace. Sockets and processes that f makes
// stay there.
func (n *namespace) do(f func() error) error {
	if n == nil {
		return f()
	}
	return elsewhere(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// elsewhere calls f, which may take its thread to another network namespace.
// The thread comes back and goes on: the processes that it started are to end
// with their parent, and that is the thread.
func elsewhere(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // and the thread stays locked: nothing else may run on it
	}
	runtime.UnlockOSThread()
	return err
}

func (n *namespace) close() {
	if n != nil {
		n.file.Close()
	}
}
