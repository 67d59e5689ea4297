package cli

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// versionOutput is the JSON of arcbox version.
type versionOutput struct {
	Build
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Go     string `json:"go_version"`
	Daemon *Build `json:"daemon,omitempty"` // the one that runs
}

func (c *command) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the daemon",
		Long: `Print the version of this program and, when one runs, of the daemon. Commands that
talk to a daemon of another version say so on standard error.`,
		Example: "  arcbox version\n  arcbox version --format '{{.version}}'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := versionOutput{Build: c.deps.Build, OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
			out.Daemon = c.runningBuild(cmd.Context())
			return c.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "arcbox %s (%s) %s/%s, %s\n", out.Version, out.Commit, out.OS, out.Arch, out.Go)
				if d := out.Daemon; d != nil {
					fmt.Fprintf(w, "daemon %s (%s)\n", d.Version, d.Commit)
				}
			}, out.Version)
		},
	}
}

// runningBuild is that of the daemon; nil when none runs or it does not say. A
// configuration that cannot be read keeps nobody from seeing the version.
func (c *command) runningBuild(ctx context.Context) *Build {
	s, _, running, err := c.probe()
	if err != nil || !running {
		return nil
	}
	client, done, err := dial(s)
	if err != nil {
		return nil
	}
	defer done()
	v := daemonVersion(ctx, client)
	if v == nil {
		return nil
	}
	if text := skew(c.deps.Build, Build{Version: v.Version, Commit: v.GitCommit}); text != "" {
		c.warn("%s", text)
	}
	return &Build{Version: v.Version, Commit: v.GitCommit, Time: v.BuildTime}
}
