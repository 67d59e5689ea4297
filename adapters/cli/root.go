package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// command is what the commands share.
type command struct {
	deps    Deps
	dataDir string
	format  string
}

const (
	formatTable = "table"
	formatJSON  = "json"
)

// Execute runs the command line and returns the process's exit code.
func Execute(ctx context.Context, deps Deps, args []string) int {
	root := New(deps)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if ctx.Err() != nil {
		err = errInterrupted
	}
	report(deps.Stderr, err)
	return exitCode(err)
}

// New returns the command tree.
func New(deps Deps) *cobra.Command {
	c := &command{deps: deps}
	root := &cobra.Command{
		Use:   "arcbox",
		Short: "Docker, Kubernetes and Linux machines in a virtual machine that you never have to think about",
		Long: `ArcBox runs one Linux virtual machine for you and gives it to your ordinary tools.

Start it and use docker:
  arcbox daemon start --wait
  arcbox docker enable
  docker run --rm arcbox/demo uname -a`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.format != formatTable && c.format != formatJSON {
				return usageError{fmt.Errorf("--format %q: want table or json", c.format)}
			}
			return nil
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(deps.Stdout)
	root.SetErr(deps.Stderr)
	root.PersistentFlags().StringVar(&c.dataDir, "data-dir", "", "where ArcBox keeps its state (default ~/.arcbox, or ARCBOX_DATA_DIR)")
	root.PersistentFlags().StringVar(&c.format, "format", formatTable, "output: table or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(c.daemon(), c.status(), c.boot(), c.logs(), c.ports(), c.docker(), c.dns(), c.network(), c.system(), c.version())
	return root
}

// noArgs refuses arguments, and suggests the command that was meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return usageError{fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0])}
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{fmt.Errorf("%s; see %s --help", text, cmd.CommandPath())}
}

// group is a command that only holds others.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Long: long, Args: noArgs, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	g.AddCommand(subs...)
	return g
}

func (c *command) overrides() Overrides {
	o := Overrides{}
	if c.dataDir != "" {
		o["data_dir"] = c.dataDir
	}
	return o
}

// narrate tells the user what goes on, on standard error.
func (c *command) narrate(format string, args ...any) {
	fmt.Fprintf(c.deps.Stderr, format+"\n", args...)
}
