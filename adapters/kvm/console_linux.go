package kvm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"arcbox/domain"
)

// console copies a machine's serial console into a file of bounded size.
type console struct {
	conn  net.Conn
	file  *os.File
	path  string
	limit int64
	log   *slog.Logger

	spoke chan struct{} // closed at the first byte
	done  chan struct{}
}

// startConsole truncates the file at path and copies into it what arrives at
// the returned descriptor's other end, until close.
func startConsole(path string, limit int64, log *slog.Logger) (*console, *os.File, error) {
	file, err := openConsoleFile(path)
	if err != nil {
		return nil, nil, err
	}
	conn, remote, err := socketPair("console")
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	c := &console{
		conn: conn, file: file, path: path, limit: limit, log: log,
		spoke: make(chan struct{}), done: make(chan struct{}),
	}
	go c.copy()
	return c, remote, nil
}

func openConsoleFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("opening the console log: %w: %w", err, domain.ErrPermission)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening the console log: %w: %w", err, domain.ErrNotFound)
	default:
		return nil, fmt.Errorf("opening the console log: %w: %w", err, domain.ErrUnavailable)
	}
}

func (c *console) copy() {
	defer close(c.done)
	defer func() { c.file.Close() }()
	defer c.conn.Close()
	buf := make([]byte, 32<<10)
	var size int64
	for first := true; ; {
		n, err := c.conn.Read(buf)
		if n > 0 {
			if first {
				first = false
				close(c.spoke)
			}
			if size > 0 && size+int64(n) > c.limit {
				c.rotate()
				size = 0
			}
			size += int64(n)
			// A file that cannot be written (a full disk) must not stop the guest,
			// which waits when nobody reads its console.
			if _, err := c.file.Write(buf[:n]); err != nil {
				c.log.Debug("writing the console log", "error", err)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.log.Debug("reading the console", "error", err)
			}
			return
		}
	}
}

// rotate sets the file aside and starts a new one. Where that is not possible
// the old one is truncated: what a guest prints must not fill the host's disk.
func (c *console) rotate() {
	if err := os.Rename(c.path, c.path+".1"); err == nil {
		if file, err := openConsoleFile(c.path); err == nil {
			c.file.Close()
			c.file = file
			return
		}
	}
	if err := c.file.Truncate(0); err != nil {
		c.log.Debug("truncating the console log", "error", err)
	}
	_, _ = c.file.Seek(0, io.SeekStart)
}

// close takes what is still on its way and returns when nothing of the console
// runs. QEMU must be gone; a descriptor of it that somebody else holds delays it
// by a second at most.
func (c *console) close() {
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
	<-c.done
}
