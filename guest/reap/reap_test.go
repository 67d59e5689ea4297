//go:build linux

package reap

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Orphans of our children become our own, as they do for process 1.
func TestReapLeavesOwnedChildrenAndReapsOrphans(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	c := New()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Reap(ctx) })
	defer wg.Wait()
	defer cancel()

	var owners sync.WaitGroup
	for i := range 20 {
		owners.Go(func() {
			cmd := exec.Command("sh", "-c", "sleep 0.05 & exit "+strconv.Itoa(i))
			err := c.Run(cmd)
			if i == 0 {
				require.NoError(t, err)
				return
			}
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, i, exit.ExitCode())
		})
	}
	owners.Wait()
	require.Eventually(t, func() bool { return len(children(t)) == 0 }, 5*time.Second, 10*time.Millisecond,
		"orphans must be reaped")
}

func TestStartFailureIsReturned(t *testing.T) {
	require.ErrorIs(t, New().Run(exec.Command("/nonexistent/program")), os.ErrNotExist)
}

func children(t *testing.T) []string {
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			out = append(out, string(stat))
		}
	}
	return out
}
