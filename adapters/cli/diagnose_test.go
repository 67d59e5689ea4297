package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	arcboxv1 "arcbox/api/arcbox/v1"
)

func unpack(t *testing.T, data []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		require.Equal(t, int64(0o600), h.Mode)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		out[strings.TrimPrefix(h.Name, "arcbox-diagnose/")] = string(text)
	}
}

func TestABundleHasWhatAReportNeedsAndNoSecrets(t *testing.T) {
	w := newWorld(t)
	w.running = true
	w.facts = []Fact{{Name: "kernel", Value: "Linux 6"}, {Name: "/dev/kvm", Value: "not usable", Problem: "permission denied"}}
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_READY, Error: "proxy http://ann:hunter2@proxy refused /home/ann/x"})
	require.NoError(t, os.WriteFile(w.Path("daemon"), []byte(strings.Repeat("an old line\n", bundleLogLines)+"token=hunter2\nopen /home/ann/x\n"), 0o600))
	require.NoError(t, os.WriteFile(w.Path("kernel"), []byte(strings.Repeat("a long line "+strings.Repeat("x", 4000)+"\n", 1000)+"last"), 0o600))
	file := filepath.Join(w.dir, "report.tar.gz")
	code, stdout, stderr := w.run(t, "diagnose", "-o", file, "--format", "json")
	require.Equal(t, ExitOK, code, stderr)
	var d diagnosis
	require.NoError(t, json.Unmarshal([]byte(stdout), &d))
	require.Equal(t, "report.tar.gz", d.File)
	st, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	files := unpack(t, data)
	require.Len(t, files, len(d.Entries))
	for _, name := range []string{"report.txt", "report.json", "status.json", "config.json", "logs/daemon.log", "logs/kernel.log"} {
		require.Contains(t, files, name)
	}
	for name, text := range files {
		require.NotContains(t, text, "hunter2", name)
		require.NotContains(t, text, "/home/ann", name)
	}
	require.NotContains(t, stdout, "hunter2")
	require.Equal(t, bundleLogLines, strings.Count(files["logs/daemon.log"], "\n"))
	require.LessOrEqual(t, len(files["logs/kernel.log"]), bundleLogBytes)
	require.True(t, strings.HasPrefix(files["logs/kernel.log"], "a long line"), "whole lines")
	require.True(t, strings.HasSuffix(files["logs/kernel.log"], "\nlast\n"))
	require.Regexp(t, `\[WARN\] +/dev/kvm +not usable: permission denied`, files["report.txt"])
	require.Regexp(t, `\[FAIL\] +docker +does not answer`, files["report.txt"], "the machine runs, its socket is not there")
	require.Regexp(t, `\[FAIL\] +start +proxy http://\*\*\*@proxy`, files["report.txt"])
}

func TestABundleNeedsNoDaemonAndNoValidConfiguration(t *testing.T) {
	w := newWorld(t)
	w.config.err = errors.New("vm.cpus = many in /home/ann/c.toml:3")
	deps := w.deps()
	code := Execute(t.Context(), deps, []string{"diagnose", "--output", "-"})
	require.Equal(t, ExitOK, code, w.stderr.String())
	files := unpack(t, []byte(w.stdout.String()))
	require.Contains(t, files["report.txt"], "not running")
	require.Regexp(t, `\[FAIL\] +configuration +vm.cpus = many in ~/c.toml:3`, files["report.txt"])
	require.NotContains(t, files, "status.json")
}
