package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatusOfARunningDaemon(t *testing.T) {
	docker(t, "info") // a use: the machine does not idle
	st, code, err := shared.status()
	require.NoError(t, err)
	require.Zero(t, code)
	require.True(t, st.Running)
	require.Equal(t, "READY", st.Phase)
	require.Equal(t, "running", st.State)
	require.NotNil(t, st.UptimeSeconds)
	require.Equal(t, shared.socket(), st.DockerSocket)

	out, err := shared.arcbox(t.Context(), "status", "--format", "json")
	require.NoError(t, err)
	var info struct {
		VMs []struct {
			Accelerator string
			Kernel      string
			Services    []struct{ Name, State string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &info))
	require.Len(t, info.VMs, 1)
	require.Contains(t, info.VMs[0].Kernel, "6.12.")
	for _, s := range info.VMs[0].Services {
		require.Equal(t, "ready", s.State, s.Name)
	}
}

func TestLogsOfEveryComponent(t *testing.T) {
	for component, want := range map[string]string{"daemon": `"phase":"READY"`, "agent": "level=INFO", "dockerd": "API listen", "containerd": "level=info", "kernel": "Linux version"} {
		out, err := shared.arcbox(t.Context(), "logs", "-c", component, "-n", "5000")
		require.NoError(t, err)
		require.Contains(t, out, want, component)
	}
}

func TestVersionAndBootCommands(t *testing.T) {
	out, err := shared.arcbox(t.Context(), "version", "--format", "json")
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(out)))
	out, err = shared.arcbox(t.Context(), "boot", "status", "--format", "json")
	require.NoError(t, err)
	require.Contains(t, out, `"cached": true`)
	require.Contains(t, out, `"pinned": true`)
	out, err = shared.arcbox(t.Context(), "boot", "list")
	require.NoError(t, err)
	require.NotEmpty(t, strings.TrimSpace(out))
	out, err = shared.arcbox(t.Context(), "boot", "prefetch", "--format", "json")
	require.NoError(t, err)
	require.Contains(t, out, `"phase":"complete"`)
	_, err = shared.arcbox(t.Context(), "boot", "clear")
	require.ErrorContains(t, err, "arcbox daemon stop")
}

func TestDockerContext(t *testing.T) {
	before := docker(t, "context", "ls", "--format", "{{.Name}}")
	require.Contains(t, before, "arcbox", "the daemon made the context")
	_, err := shared.arcbox(t.Context(), "docker", "enable")
	require.NoError(t, err)
	cmd := shared.command(t.Context(), "docker", "version", "--format", "{{.Server.Os}}")
	var env []string
	for _, kv := range cmd.Env {
		if !strings.HasPrefix(kv, "DOCKER_HOST=") {
			env = append(env, kv)
		}
	}
	cmd.Env = env
	answer, err := cmd.CombinedOutput()
	require.NoError(t, err, string(answer))
	require.Equal(t, "linux\n", string(answer))
	_, err = shared.arcbox(t.Context(), "docker", "disable")
	require.NoError(t, err)
	out, err := shared.arcbox(t.Context(), "docker", "status", "--format", "json")
	require.NoError(t, err)
	require.Contains(t, out, `"is_default": false`)
}
