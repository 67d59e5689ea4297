package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFilesSurviveCrashes kills the machine, and the daemon that serves the
// files, while a container writes. Whatever fsync had acknowledged is on the
// host, the client is told what happened, and the next request goes on.
func TestFilesSurviveCrashes(t *testing.T) {
	d := own(t, "filescrash")
	dir := filepath.Join(filepath.Dir(d.data), "tree")
	require.NoError(t, os.Mkdir(dir, dirMode))
	d.extra = []string{"ARCBOX_VM__MOUNTS=" + dir}
	require.NoError(t, d.start("--wait"))
	d.loadFsx(t)
	for _, victim := range []struct {
		name string
		kill func()
	}{
		{"machine", func() { kill(t, hypervisorOf(t, d)) }},
		{"daemon", func() {
			st, _, err := d.status()
			require.NoError(t, err)
			kill(t, st.PID)
		}},
	} {
		t.Run(victim.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := d.command(ctx, "docker", "run", bind(dir, "/work"), fsx, "journal", "-file", "/work/"+victim.name, "-padding", "65536")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			last := -1
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if last, err = strconv.Atoi(lines.Text()); err != nil {
					break
				}
				if last == 100 {
					victim.kill()
				}
			}
			require.NoError(t, err)
			require.Error(t, cmd.Wait())
			require.GreaterOrEqual(t, last, 100, stderr.String())
			require.NotEmpty(t, strings.TrimSpace(stderr.String()), "the client says why")
			t.Logf("%d lines were safe; the client says: %s", last+1, strings.TrimSpace(stderr.String()))

			lines := strings.SplitAfter(read(t, filepath.Join(dir, victim.name)), "\n")
			require.Greater(t, len(lines), last)
			for n := range last + 1 {
				require.Equal(t, fmt.Sprintf("line %08d\n", n), lines[n])
			}
			if victim.name == "daemon" {
				require.NoError(t, d.start("--wait"))
			}
			i := d.inside(t, bind(dir, "/work"))
			require.Equal(t, read(t, filepath.Join(dir, victim.name)), i.ask("read", "/work/"+victim.name, ""), "the next request boots and sees the same")
			i.ask("write", "/work/after", victim.name)
			require.Equal(t, victim.name, read(t, filepath.Join(dir, "after")))
		})
	}
}
