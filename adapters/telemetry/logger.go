// Package telemetry makes what ArcBox tells about itself: the daemon's logger,
// the bounded log files of the guest's components, and the tracer provider.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/natefinch/lumberjack.v2"

	"arcbox/domain"
)

// Bounds of one log file: rotated at this size, this many old ones kept.
const (
	maxLogMiB  = 10
	maxLogOlds = 4
)

// LoggerOptions say where the daemon's log goes.
type LoggerOptions struct {
	// File receives JSON lines and is rotated at 10 MiB, 5 files in all. Empty: none.
	File string
	// Human receives readable lines, for a daemon in the foreground; nil: none.
	Human io.Writer
	// Level is debug, info, warn or error.
	Level string
}

// NewLogger returns the daemon's logger and what closes its file.
func NewLogger(o LoggerOptions) (*slog.Logger, io.Closer, error) {
	level, err := ParseLevel(o.Level)
	if err != nil {
		return nil, nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	var handlers fanout
	var closer io.Closer = io.NopCloser(nil)
	if o.File != "" {
		if err := os.MkdirAll(filepath.Dir(o.File), 0o700); err != nil {
			return nil, nil, fmt.Errorf("log directory: %w", err)
		}
		file := rotating(o.File)
		handlers = append(handlers, slog.NewJSONHandler(file, opts))
		closer = file
	}
	if o.Human != nil {
		handlers = append(handlers, slog.NewTextHandler(o.Human, opts))
	}
	return slog.New(handlers), closer, nil
}

// ParseLevel reads the name of a log level; empty means info.
func ParseLevel(s string) (slog.Level, error) {
	if s == "" {
		return slog.LevelInfo, nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(s))); err != nil {
		return 0, fmt.Errorf("log level %q: want debug, info, warn or error: %w", s, domain.ErrInvalid)
	}
	return l, nil
}

func rotating(path string) *lumberjack.Logger {
	return &lumberjack.Logger{Filename: path, MaxSize: maxLogMiB, MaxBackups: maxLogOlds}
}

// fanout gives each record to every handler.
type fanout []slog.Handler

func (f fanout) Enabled(ctx context.Context, l slog.Level) bool {
	for _, h := range f {
		if h.Enabled(ctx, l) {
			return true
		}
	}
	return false
}

func (f fanout) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, h := range f {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

func (f fanout) WithAttrs(attrs []slog.Attr) slog.Handler {
	g := make(fanout, len(f))
	for i, h := range f {
		g[i] = h.WithAttrs(attrs)
	}
	return g
}

func (f fanout) WithGroup(name string) slog.Handler {
	g := make(fanout, len(f))
	for i, h := range f {
		g[i] = h.WithGroup(name)
	}
	return g
}
