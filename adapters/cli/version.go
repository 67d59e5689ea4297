package cli

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *command) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			out := struct {
				Build
				OS   string `json:"os"`
				Arch string `json:"arch"`
				Go   string `json:"go_version"`
			}{c.deps.Build, runtime.GOOS, runtime.GOARCH, runtime.Version()}
			return c.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "arcbox %s (%s) %s/%s, %s\n", out.Version, out.Commit, out.OS, out.Arch, out.Go)
			})
		},
	}
}
