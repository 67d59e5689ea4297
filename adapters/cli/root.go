package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"arcbox/domain"
)

// command is what the commands share.
type command struct {
	deps     Deps
	dataDir  string
	format   string
	template *template.Template // of formatTemplate
}

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
	report(deps.Stderr, err, deps.Color)
	return exitCode(err)
}

// New returns the command tree.
func New(deps Deps) *cobra.Command {
	c := &command{deps: deps, format: formatTable}
	var format string
	root := &cobra.Command{
		Use:   "arcbox",
		Short: "Docker, Kubernetes and Linux machines in a virtual machine that you never have to think about",
		Long: `ArcBox runs one Linux virtual machine for you and gives it to your ordinary tools.

Results go to standard output in the form that --format asks for: a table; json,
where streams are one object a line; quiet, which is only what a script would want
to read; or a Go template over the fields of the JSON. What goes on, and what went
wrong, goes to standard error. Exit codes: 0 done, 1 it did not work, 2 a mistake in
the command line, 3 the daemon is not running, 130 interrupted.`,
		Example: `  arcbox daemon start --wait
  arcbox docker enable
  docker run --rm arcbox/demo uname -a

  arcbox status --format json
  arcbox ports --format '{{range .ports}}{{.host_port}} {{.container_name}}{{"\n"}}{{end}}'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil { // cobra would do it later, with another exit code
				return usageError{err}
			}
			return c.setFormat(format)
		},
	}
	root.SetOut(deps.Stdout)
	root.SetErr(deps.Stderr)
	root.PersistentFlags().StringVar(&c.dataDir, "data-dir", "", "where ArcBox keeps its state (default ~/.arcbox, or ARCBOX_DATA_DIR)")
	root.PersistentFlags().StringVar(&format, "format", formatTable, "output: table, json, quiet or go-template=TEMPLATE")
	complete(root, "format", formats...)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(c.daemon(), c.status(), c.boot(), c.logs(), c.ports(), c.docker(), c.dns(), c.network(), c.system(), c.config(),
		c.diagnose(), c.completion(), c.version())
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
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near, ok := domain.Nearest(args[0], names); ok {
		text += "; did you mean " + near + "?"
	}
	return usageError{fmt.Errorf("%s; see %s --help", text, cmd.CommandPath())}
}

// wantArgs takes least to most arguments, named as in the usage line.
func wantArgs(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usageError{fmt.Errorf("%s wants %s; see %s --help", cmd.CommandPath(), names, cmd.CommandPath())}
		}
		return nil
	}
}

// flagError suggests the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if near, ok := domain.Nearest(unknown.GetSpecifiedName(), names); ok {
		return usageError{fmt.Errorf("%w; did you mean --%s?", err, near)}
	}
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// group is a command that only holds others.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Long: long, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var examples []string
	for _, s := range subs {
		first, _, _ := strings.Cut(s.Example, "\n")
		examples = append(examples, first)
	}
	g.Example = strings.Join(examples, "\n")
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

// narrate tells the user what goes on, on standard error; not when quiet.
func (c *command) narrate(format string, args ...any) {
	if c.format != formatQuiet {
		fmt.Fprintf(c.deps.Stderr, format+"\n", args...)
	}
}

// warn tells the user what they should know whatever they asked for.
func (c *command) warn(format string, args ...any) {
	fmt.Fprintf(c.deps.Stderr, "%s %s\n", paint(c.deps.Color, yellow, "arcbox: note:"), fmt.Sprintf(format, args...))
}
