package vz

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

var quiet = slog.New(slog.DiscardHandler)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func TestConsoleIsWrittenToItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.WriteFile(path, []byte("of an earlier run"), 0o600))
	c, err := startConsole(path, 1<<20, quiet)
	require.NoError(t, err)
	require.Equal(t, "; the console is empty", c.quote())
	_, err = c.output.WriteString("Linux version 6\n\xff\xfeready\n")
	require.NoError(t, err)
	c.close()
	require.Equal(t, "Linux version 6\n\xff\xfeready\n", read(t, path), "what was written before the close arrives")
	require.Equal(t, "; the console ends with:\nLinux version 6\n?ready", c.quote())
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
}

func TestConsoleIsBounded(t *testing.T) {
	const limit = 64 << 10
	path := filepath.Join(t.TempDir(), "console.log")
	c, err := startConsole(path, limit, quiet)
	require.NoError(t, err)
	line := strings.Repeat("x", 1023) + "\n"
	for range 1024 {
		_, err := c.output.WriteString(line)
		require.NoError(t, err)
	}
	_, err = c.output.WriteString("the end")
	require.NoError(t, err)
	c.close()
	require.True(t, strings.HasSuffix(read(t, path), "the end"))
	require.LessOrEqual(t, len(read(t, path)), limit)
	require.LessOrEqual(t, len(read(t, path+".1")), limit)
	require.LessOrEqual(t, len(c.quote()), consoleTail+64)
	require.True(t, strings.HasSuffix(c.quote(), "the end"))
}

// Where the old log cannot be set aside, it is truncated.
func TestConsoleIsBoundedWithoutRename(t *testing.T) {
	const limit = 4 << 10
	path := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.MkdirAll(filepath.Join(path+".1", "in", "the", "way"), 0o700))
	c, err := startConsole(path, limit, quiet)
	require.NoError(t, err)
	_, err = c.output.Write(bytes.Repeat([]byte("x"), 1<<20))
	require.NoError(t, err)
	_, err = c.output.WriteString("the end")
	require.NoError(t, err)
	c.close()
	require.True(t, strings.HasSuffix(read(t, path), "the end"))
	require.Less(t, len(read(t, path)), 64<<10)
}

// A descriptor that somebody else holds does not keep the console from ending.
func TestConsoleEndsThoughItsPipeIsOpenElsewhere(t *testing.T) {
	c, err := startConsole(filepath.Join(t.TempDir(), "console.log"), 1<<20, quiet)
	require.NoError(t, err)
	fd, err := dupForTest(c.output)
	require.NoError(t, err)
	defer fd.Close()
	_, err = fd.WriteString("late")
	require.NoError(t, err)
	begun := time.Now()
	c.close()
	require.Less(t, time.Since(begun), 5*drainTime)
	require.Equal(t, "; the console ends with:\nlate", c.quote())
}

// The machine reads an input that is open and silent, not one at its end.
func TestConsoleInputStaysSilent(t *testing.T) {
	c, err := startConsole(filepath.Join(t.TempDir(), "console.log"), 1<<20, quiet)
	require.NoError(t, err)
	defer c.close()
	require.NoError(t, c.input.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = c.input.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NotErrorIs(t, err, io.EOF)
}

func TestConsoleErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := startConsole(filepath.Join(dir, "no", "console.log"), 1, quiet)
	require.ErrorIs(t, err, domain.ErrNotFound)
	_, err = startConsole(dir, 1, quiet)
	require.ErrorIs(t, err, domain.ErrUnavailable)
	var none *console
	none.close()
	require.Empty(t, none.quote())
}
