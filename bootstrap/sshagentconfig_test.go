package bootstrap

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSSHAgentsSocketIsWhereTheCommandWasGiven(t *testing.T) {
	c, err := LoadConfig(nil, nil, map[string]any{"docker.ssh_agent": "agent.sock"})
	require.NoError(t, err)
	here, err := filepath.Abs("agent.sock")
	require.NoError(t, err)
	require.Equal(t, here, c.Docker.SSHAgent, "the daemon works elsewhere")
	c, err = LoadConfig(nil, nil, nil)
	require.NoError(t, err)
	require.Empty(t, c.Docker.SSHAgent)
}
