package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	arcboxv1 "arcbox/api/arcbox/v1"
)

func (s *setup) Prune(_ context.Context, r *arcboxv1.PruneRequest) (*arcboxv1.PruneResponse, error) {
	return s.pruned(r)
}

func TestSystemPruneAsks(t *testing.T) {
	w := newWorld(t)
	w.running = true
	var asked []string
	server := grpc.NewServer()
	arcboxv1.RegisterSystemServiceServer(server, &setup{pruned: func(r *arcboxv1.PruneRequest) (*arcboxv1.PruneResponse, error) {
		asked = append(asked, strings.TrimSpace(r.String()))
		return &arcboxv1.PruneResponse{Containers: []string{"c1"}, Images: []string{"web:1"}, ReclaimedBytes: 3 << 20, HostBytes: 2 << 20}, nil
	}})
	l := listenUnix(t, filepath.Join(w.dir, "arcbox.sock"))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	code, _, stderr := w.run(t, "system", "prune")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "--force")
	answer := func(text string, args ...string) (int, string, string) {
		deps := w.deps()
		deps.Stdin, deps.Asks = strings.NewReader(text), true
		return Execute(t.Context(), deps, append([]string{"system", "prune"}, args...)), w.stdout.String(), w.stderr.String()
	}
	for _, no := range []string{"", "\n", "n\n", "nyes\n", "y" + strings.Repeat("y", 1<<11)} {
		code, _, stderr = answer(no, "--all")
		require.Equal(t, ExitError, code)
		require.Contains(t, stderr, "all images that no container uses")
		require.Contains(t, stderr, "arcbox: nothing was removed\n")
	}
	require.Empty(t, asked)
	code, stdout, _ := answer("Y\n", "--volumes")
	require.Equal(t, ExitOK, code)
	for _, want := range []string{"c1", "web:1", "3.0 MiB", "2.0 MiB"} {
		require.Contains(t, stdout, want)
	}
	code, stdout, _ = w.run(t, "system", "prune", "-a", "-f", "--format", "json")
	require.Equal(t, ExitOK, code)
	var out map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &out))
	require.Equal(t, []any{}, out["volumes"])
	require.EqualValues(t, 3<<20, out["reclaimed_bytes"])
	require.Equal(t, []string{"volumes:true", "all:true"}, asked)

	w.running = false
	code, _, _ = w.run(t, "system", "prune", "-f")
	require.Equal(t, ExitNotRunning, code)
}

func TestStatusTellsOfTheDisk(t *testing.T) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	diskRows(w, &arcboxv1.VmInfo{Paused: "the host's disk is full", Disk: &arcboxv1.DiskUsage{TotalBytes: 8 << 30, FreeBytes: 2 << 30,
		AllocatedBytes: 7 << 30, Problems: []string{"the data disk is nearly full"}}})
	require.NoError(t, w.Flush())
	for _, want := range []string{"paused", "the host's disk is full", "problem", "nearly full", "6.0 GiB of 8.0 GiB used; its image takes 7.0 GiB"} {
		require.Contains(t, b.String(), want)
	}
}
