package localsocket

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
)

// Listener accepts connections of the user who runs this process, and closes
// those of everybody else, the superuser's too. Mode and directory of the socket
// keep others out already; this holds when either is changed.
type Listener struct {
	socket *net.UnixListener
	uid    uint32
	log    *slog.Logger
}

var _ net.Listener = (*Listener)(nil)

// Listen binds a Unix socket with mode 0600 at path. A directory that is missing
// is made with mode 0700. A socket that nobody answers on is what an earlier run
// left, and is replaced; two processes that do so at the same time must exclude
// each other. It returns domain.ErrInvalid for a path that no socket can have,
// domain.ErrAlreadyRunning when somebody answers on it, domain.ErrAlreadyExists
// when it is not a socket, and domain.ErrPermission when others can write to its
// directory. log hears of those who were refused.
func Listen(path string, log *slog.Logger) (*Listener, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("make the socket private: %w", err)
	}
	return &Listener{socket: socket, uid: uint32(os.Geteuid()), log: log}, nil
}

// Accept implements net.Listener. Connections are *net.UnixConn.
func (l *Listener) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// AcceptUnix waits for the next connection of the user.
func (l *Listener) AcceptUnix() (*net.UnixConn, error) {
	for {
		conn, err := l.socket.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peer(conn)
		if err == nil && uid == l.uid {
			return conn, nil
		}
		_ = conn.Close()
		if err != nil {
			// Some systems cannot tell any more once the other side has closed.
			l.log.Debug("closed a connection from nobody knows whom", "socket", l.Addr().String(), "error", err)
			continue
		}
		l.log.Warn("refused a connection of another user", "socket", l.Addr().String(), "uid", uid)
	}
}

// Close stops accepting, and removes the socket.
func (l *Listener) Close() error { return l.socket.Close() }

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// peer returns the effective user of the process that connected, as it was then.
func peer(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := raw.Control(func(fd uintptr) { uid, err = peerUID(int(fd)) }); cerr != nil {
		return 0, cerr
	}
	return uid, err
}
