package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.LogFiles = (*LogFiles)(nil)

// LogFiles keeps one rotated file per component below a directory.
type LogFiles struct {
	dir string

	mu sync.Mutex
	// files are opened once a process: each has a goroutine of its own that
	// removes old rotations, and a machine that boots again finds its file.
	files map[string]*lumberjack.Logger
}

// NewLogFiles keeps its files in dir, which is made when the first is written.
func NewLogFiles(dir string) *LogFiles {
	return &LogFiles{dir: dir, files: map[string]*lumberjack.Logger{}}
}

// Path returns <dir>/<component>.log for the default machine, and
// <dir>/<machine>-<component>.log for the others.
func (l *LogFiles) Path(machine domain.MachineName, component string) string {
	name := component
	if machine != domain.DefaultMachine {
		name = string(machine) + "-" + component
	}
	return filepath.Join(l.dir, name+".log")
}

// Writer implements port.LogFiles.
func (l *LogFiles) Writer(machine domain.MachineName, component string) (io.WriteCloser, error) {
	if !validComponent(component) {
		return nil, fmt.Errorf("log component %q: %w", component, domain.ErrInvalid)
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	path := l.Path(machine, component)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[path]
	if f == nil {
		f = rotating(path)
		l.files[path] = f
	}
	return f, nil
}

// validComponent keeps a name that came from the guest inside the directory.
func validComponent(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Tail implements port.LogFiles.
func (l *LogFiles) Tail(machine domain.MachineName, component string, n int) ([]string, error) {
	f, err := os.Open(l.Path(machine, component))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", component, err)
	}
	defer f.Close()
	return TailLines(f, n)
}

const tailChunk = 64 << 10

// TailLines returns up to n of the last lines of f, oldest first. It reads
// from the end, so its cost does not grow with the file.
func TailLines(f *os.File, n int) ([]string, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var data []byte
	for at := st.Size(); at > 0 && bytes.Count(data, []byte{'\n'}) <= n; {
		size := min(at, tailChunk)
		at -= size
		chunk := make([]byte, size, int(size)+len(data))
		if _, err := f.ReadAt(chunk, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		data = append(chunk, data...)
	}
	data = bytes.TrimSuffix(data, []byte{'\n'})
	if len(data) == 0 || n <= 0 {
		return nil, nil
	}
	lines := bytes.Split(data, []byte{'\n'})
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	out := make([]string, len(lines))
	for i, b := range lines {
		out[i] = string(bytes.TrimSuffix(b, []byte{'\r'}))
	}
	return out, nil
}
