// Package localsockettest connects to sockets as somebody else.
package localsockettest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a user that runs no test: nobody.
const stranger = 65534

// Dial connects to the socket at path as another user, after it opened mode and
// directory of the socket, so that nothing but the server itself is left to
// refuse. The test is skipped without the right to become somebody else. The
// caller closes the connection.
func Dial(t *testing.T, path string) net.Conn {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(path); dir != os.TempDir() && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// The raw call changes this thread only, and the runtime ends the
		// thread with the goroutine, since that never unlocks it.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, stranger, stranger, stranger); errno != 0 {
			done <- result{err: errors.Join(errors.New("become another user"), errno)}
			return
		}
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.conn
}
