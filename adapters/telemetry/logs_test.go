package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestLoggerWritesJSONToFileAndTextToTerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log", "daemon.log")
	var human bytes.Buffer
	log, closer, err := NewLogger(LoggerOptions{File: file, Human: &human, Level: "info"})
	require.NoError(t, err)
	log.With("machine", "default").Info("started", "cpus", 2)
	log.Debug("not at this level")
	require.NoError(t, closer.Close())

	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var line map[string]any
	require.NoError(t, json.Unmarshal(data, &line), "one JSON line")
	require.Equal(t, "started", line["msg"])
	require.Equal(t, "default", line["machine"])
	require.Contains(t, human.String(), "msg=started machine=default cpus=2")
	require.NotContains(t, human.String(), "not at this level")
}

func TestUnknownLogLevelIsRefused(t *testing.T) {
	_, _, err := NewLogger(LoggerOptions{Level: "loud"})
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestTailReadsTheLastLinesOfAnyFile(t *testing.T) {
	l := NewLogFiles(filepath.Join(t.TempDir(), "log"))
	lines, err := l.Tail(domain.DefaultMachine, "dockerd", 5)
	require.NoError(t, err)
	require.Empty(t, lines, "no file is no line")

	w, err := l.Writer(domain.DefaultMachine, "dockerd")
	require.NoError(t, err)
	for i := range 20000 {
		fmt.Fprintf(w, "line %d %s\n", i, strings.Repeat("x", i%97))
	}
	require.NoError(t, w.Close())
	lines, err = l.Tail(domain.DefaultMachine, "dockerd", 3000)
	require.NoError(t, err)
	require.Len(t, lines, 3000)
	require.True(t, strings.HasPrefix(lines[0], "line 17000 "))
	require.True(t, strings.HasPrefix(lines[2999], "line 19999 "))
}

func TestLogOfAComponentIsBounded(t *testing.T) {
	dir := t.TempDir()
	w, err := NewLogFiles(dir).Writer("dev", "agent")
	require.NoError(t, err)
	chunk := bytes.Repeat([]byte("0123456789abcde\n"), 64<<10) // 1 MiB
	for range 80 {
		_, err := w.Write(chunk)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var total int64
	for _, e := range entries {
		require.True(t, strings.HasPrefix(e.Name(), "dev-agent"))
		info, err := e.Info()
		require.NoError(t, err)
		total += info.Size()
	}
	// The one that is a rotation too many may still be waiting for its removal.
	require.LessOrEqual(t, total, int64((maxLogOlds+2)*maxLogMiB)<<20)
}

func TestComponentNamesFromTheGuestStayInTheDirectory(t *testing.T) {
	l := NewLogFiles(t.TempDir())
	for _, name := range []string{"", "../x", "a/b", "UPPER", strings.Repeat("a", 33), "a\x00"} {
		_, err := l.Writer(domain.DefaultMachine, name)
		require.ErrorIs(t, err, domain.ErrInvalid, "%q", name)
	}
}
