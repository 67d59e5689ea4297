package netfwd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// hiddenSocket listens where only a process that inherits the file can connect,
// to /proc/self/fd/N: its name is gone when it returns. QEMU's vhost-user network
// card wants a connection of its own making, and takes no descriptor of one.
func hiddenSocket() (*net.UnixListener, *os.File, error) {
	dir, err := os.MkdirTemp("", "arcbox-net-") // of this user alone
	if err != nil {
		return nil, nil, err
	}
	ln, file, err := listenIn(dir)
	if e := os.RemoveAll(dir); e != nil && err == nil {
		err = errors.Join(e, ln.Close(), file.Close())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("socket of the network card: %w", err)
	}
	return ln, file, nil
}

func listenIn(dir string) (*net.UnixListener, *os.File, error) {
	// By its descriptor the name is short, however long the directory's is.
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	name := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	ln.SetUnlinkOnClose(false) // hiddenSocket does
	fd, err := unix.Openat(int(d.Fd()), "s", unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, errors.Join(os.NewSyscallError("openat", err), ln.Close())
	}
	return ln, os.NewFile(uintptr(fd), "network"), nil
}
