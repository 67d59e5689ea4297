//go:build linux

package vhostuser

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listen listens where only a process that inherits the file can connect, to
// /proc/self/fd/N: the socket's name is gone when it returns. Some devices of QEMU
// want a connection of its own making. The caller closes both; name is for people.
func Listen(name string) (*net.UnixListener, *os.File, error) {
	dir, err := os.MkdirTemp("", "arcbox-"+name+"-") // of this user alone
	if err != nil {
		return nil, nil, err
	}
	ln, file, err := listenIn(dir, name)
	if e := os.RemoveAll(dir); e != nil && err == nil {
		err = errors.Join(e, ln.Close(), file.Close())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("socket of the device %s: %w", name, err)
	}
	return ln, file, nil
}

func listenIn(dir, name string) (*net.UnixListener, *os.File, error) {
	// By its descriptor the path is short, however long the directory's is.
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	path := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	ln.SetUnlinkOnClose(false) // Listen does
	fd, err := unix.Openat(int(d.Fd()), "s", unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("openat", err), ln.Close())
	}
	return ln, os.NewFile(uintptr(fd), name), nil
}
