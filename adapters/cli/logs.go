package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

var logComponents = []string{"daemon", "agent", "dockerd", "containerd", "kernel"}

const followInterval = 200 * time.Millisecond

func (c *command) logs() *cobra.Command {
	var component string
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show the logs of the daemon and of the guest",
		Long: `Show the last lines of a log, and with --follow what is written from then on. With
--format json each line is an object. arcbox diagnose packs all logs for a bug report.`,
		Example: "  arcbox logs -c dockerd -n 50\n  arcbox logs -f -c kernel",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(logComponents, component) {
				return usageError{fmt.Errorf("--component %q: want %s", component, strings.Join(logComponents, ", "))}
			}
			if lines < 0 {
				return usageError{fmt.Errorf("--lines %d: want 0 or more", lines)}
			}
			l, err := c.deps.Logs(c.overrides())
			if err != nil {
				return err
			}
			path := l.Path(component)
			// Where following begins is fixed before the tail is read, so that no line is lost between.
			at := size(path)
			tail, err := l.Tail(component, lines)
			if err != nil {
				return err
			}
			if len(tail) == 0 && at == 0 && !follow {
				return domain.WithHint(fmt.Errorf("no log of %s in %s: %w", component, path, domain.ErrNotFound), "the component has not run yet")
			}
			for _, line := range tail {
				if err := c.logLine(component, line); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			return c.followFile(cmd.Context(), component, path, at)
		},
	}
	cmd.Flags().StringVarP(&component, "component", "c", "daemon", strings.Join(logComponents, ", "))
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	complete(cmd, "component", logComponents...)
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many of the last lines")
	return cmd
}

func (c *command) logLine(component, line string) error {
	if c.format == formatTable || c.format == formatQuiet {
		_, err := fmt.Fprintln(c.deps.Stdout, line)
		return err
	}
	return c.emit(map[string]string{"component": component, "line": line}, nil)
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// followFile prints the lines that are appended to path from offset at on. A
// file that was rotated or truncated is read again from its start. It ends
// without error when the user interrupts.
func (c *command) followFile(ctx context.Context, component, path string, at int64) error {
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	var partial string
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		if f == nil {
			opened, err := os.Open(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if f = opened; f != nil {
				if _, err := f.Seek(at, io.SeekStart); err != nil {
					return err
				}
			}
		}
		if f != nil {
			r := bufio.NewReader(f)
			for {
				text, err := r.ReadString('\n')
				if err != nil {
					partial += text
					break
				}
				if err := c.logLine(component, strings.TrimRight(partial+text, "\r\n")); err != nil {
					return err
				}
				partial = ""
			}
			if replaced(f, path) {
				f.Close()
				f, at, partial = nil, 0, ""
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// replaced says whether path names another file than f by now, or f was truncated.
func replaced(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	if err != nil {
		return false
	}
	if !os.SameFile(mine, now) {
		return true
	}
	at, err := f.Seek(0, io.SeekCurrent)
	return err == nil && now.Size() < at
}
