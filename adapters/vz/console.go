package vz

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"arcbox/domain"
)

const (
	// consoleTail is how much of a console's end errors quote, bytes.
	consoleTail = 2 << 10
	// drainTime bounds the wait for what is on its way from a machine that is down.
	drainTime = time.Second
)

// console copies a machine's serial console into a file of bounded size. The
// framework could write the file itself, but without an end.
type console struct {
	// input and output are the descriptors that the machine reads from and writes to.
	input, output *os.File

	silence *os.File // the other end of input; nothing is ever written to it
	reader  *os.File
	file    *os.File
	path    string
	limit   int64
	log     *slog.Logger
	done    chan struct{}

	mu   sync.Mutex
	tail []byte
}

// startConsole truncates the file at path and copies into it what is written
// to output, until close. At limit bytes the file is set aside as <path>.1.
func startConsole(path string, limit int64, log *slog.Logger) (_ *console, err error) {
	c := &console{path: path, limit: limit, log: log, done: make(chan struct{})}
	defer func() {
		if err != nil {
			c.closeFiles()
		}
	}()
	if c.file, err = openConsoleFile(path); err != nil {
		return nil, err
	}
	if c.reader, c.output, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("making the console's pipe: %w: %w", domain.ErrUnavailable, err)
	}
	if c.input, c.silence, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("making the console's pipe: %w: %w", domain.ErrUnavailable, err)
	}
	go c.copy() // ends in close
	return c, nil
}

func openConsoleFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the console log: %w: %w", fileKind(err), err)
	}
	return f, nil
}

func (c *console) copy() {
	defer close(c.done)
	buf := make([]byte, 32<<10)
	var size int64
	for {
		n, err := c.reader.Read(buf)
		c.remember(buf[:n])
		if size += int64(n); size > c.limit {
			size = int64(n)
			c.rotate()
		}
		// A file that cannot be written (a full disk) must not stop the guest,
		// which waits when nobody reads its console.
		if _, err := c.file.Write(buf[:n]); err != nil {
			c.log.Debug("console log", "error", err)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
				c.log.Debug("console", "error", err)
			}
			return
		}
	}
}

func (c *console) remember(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	if n := len(c.tail) - consoleTail; n > 0 {
		c.tail = append(c.tail[:0], c.tail[n:]...)
	}
}

// quote is the end of what the guest said, to follow an error's text.
func (c *console) quote() string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.TrimSpace(strings.ToValidUTF8(string(c.tail), "?"))
	if s == "" {
		return "; the console is empty"
	}
	return "; the console ends with:\n" + s
}

// rotate sets the file aside and starts a new one. Where that is not possible
// the old one is truncated: what a guest prints must not fill the host's disk.
func (c *console) rotate() {
	if err := os.Rename(c.path, c.path+".1"); err == nil {
		if f, err := openConsoleFile(c.path); err == nil {
			c.file.Close()
			c.file = f
			return
		}
	}
	if err := c.file.Truncate(0); err != nil {
		c.log.Debug("truncating the console log", "error", err)
	}
	_, _ = c.file.Seek(0, io.SeekStart)
}

// close takes what is still on its way and returns when nothing of the console
// runs. The machine must be down; a descriptor of it that somebody else holds
// delays it by drainTime at most.
func (c *console) close() {
	if c == nil {
		return
	}
	c.output.Close()
	_ = c.reader.SetReadDeadline(time.Now().Add(drainTime))
	<-c.done
	c.closeFiles()
}

func (c *console) closeFiles() {
	for _, f := range []*os.File{c.input, c.silence, c.reader, c.output, c.file} {
		f.Close() // nil and closed ones only answer with an error
	}
}
