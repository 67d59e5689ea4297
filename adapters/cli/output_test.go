package cli

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

func TestEveryFormatOfOneResult(t *testing.T) {
	w := newWorld(t)
	w.running = true
	w.serve(t, &arcboxv1.SetupStatus{Phase: arcboxv1.SetupPhase_SETUP_PHASE_READY})
	for format, want := range map[string]string{
		"quiet": "running\n",
		"go-template={{range .vms}}{{.machine}}={{.state}}{{end}}": "default=running\n",
		"{{.version}} {{len .vms}}\n":                              "1.0.0 1\n",
		"{{.error}}|{{json (index .vms 0).services}}":              "|[]\n", // fields that JSON leaves out are there
		"{{with (index .vms 0).disk}}disk{{else}}none{{end}}":      "none\n",
	} {
		code, stdout, stderr := w.run(t, "status", "--format", format)
		require.Equal(t, ExitOK, code, stderr)
		require.Equal(t, want, stdout, format)
	}
	for format, want := range map[string]string{
		"{{.pidd}}":         "; the fields are data_dir, docker_socket, error, grpc_socket, phase, pid, uptime_seconds, version, vms",
		"{{.vms":            "unclosed action",
		"go-template={{x}}": `function "x" not defined`,
		"go-template":       "want table, json, quiet or go-template=TEMPLATE",
	} {
		code, stdout, stderr := w.run(t, "status", "--format", format)
		require.Equal(t, ExitUsage, code, format)
		require.Empty(t, stdout)
		require.Contains(t, stderr, want)
	}
}

func TestQuietTellsNothingBesides(t *testing.T) {
	w := newWorld(t)
	w.boot.steps = []domain.AssetProgress{{Phase: domain.AssetReady, Name: "dockerd", Current: 1, Total: 1}}
	code, stdout, stderr := w.run(t, "boot", "prefetch", "--format", "quiet")
	require.Equal(t, ExitOK, code)
	require.Empty(t, stdout+stderr)
	_, stdout, stderr = w.run(t, "boot", "prefetch", "--format", "{{.phase}} {{.name}}")
	require.Equal(t, "ready dockerd\ncomplete \n", stdout)
	require.Empty(t, stderr)
	_, stdout, _ = w.run(t, "boot", "list", "--format", "quiet")
	require.Equal(t, "1.2.2\n1.2.3\n", stdout)
}

func TestErrorsAreColouredOnlyWhenAsked(t *testing.T) {
	var plain, colored bytes.Buffer
	report(&plain, errors.New("x"), false)
	report(&colored, errors.New("x"), true)
	require.Equal(t, "arcbox: x\n", plain.String())
	require.Equal(t, "\033[1;31marcbox:\033[0m x\n", colored.String())
}

func TestSkew(t *testing.T) {
	for _, c := range []struct {
		mine, daemon Build
		want         string
	}{
		{Build{Version: "1.2.0", Commit: "a"}, Build{Version: "1.2.0", Commit: "a"}, ""},
		{Build{Version: "1.2.0"}, Build{Version: "1.10.0"}, "this command (1.2.0) is older than the daemon (1.10.0)"},
		{Build{Version: "1.2.1"}, Build{Version: "1.2"}, "this command (1.2.1) is newer than the daemon (1.2)"},
		{Build{Version: "1.2.0-rc.1"}, Build{Version: "1.2.0"}, "older"},
		{Build{Version: "1.2.0"}, Build{Version: "v1.2.0-rc.1"}, "newer"},
		{Build{Version: "1.2.0-rc.1"}, Build{Version: "1.2.0-rc.2"}, "is not of the daemon's version"},
		{Build{Version: "1.2.0", Commit: "a"}, Build{Version: "1.2.0", Commit: "b"}, "builds of different commits"},
		{Build{Version: "unknown"}, Build{Version: "1.2.0"}, ""},
		{Build{Version: "1.2.0", Commit: "unknown"}, Build{Version: "1.2.0", Commit: "b"}, ""},
	} {
		got := skew(c.mine, c.daemon)
		require.Equal(t, c.want == "", got == "", got)
		require.Contains(t, got, c.want)
	}
}
