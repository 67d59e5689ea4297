package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

func (c *command) configEdit() *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "edit", Short: "Edit the configuration file in your editor", Args: noArgs,
		Long: `Edit a copy of the configuration file in $VISUAL or $EDITOR. It replaces the file when
the editor has ended and all of it is valid; a mistake is shown, and can be mended. A
new file begins with all keys as comments.`,
		Example: "  arcbox config edit\n  EDITOR=nano arcbox config edit",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := c.deps.Config(c.overrides())
			if cfg.Editor() == "" && !c.deps.Asks {
				return usageError{domain.WithHint(errors.New("there is no terminal to edit on"), "arcbox config set changes a single key; EDITOR names a program that needs no terminal")}
			}
			draft, err := cfg.Draft(system)
			if err != nil {
				return err
			}
			done, err := c.edit(cmd.Context(), cfg, draft)
			if err != nil {
				return err
			}
			return c.configChanged(done)
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

// edit has the user work on a copy until it is valid. The copy of a user who
// gives up is kept: it may be much work.
func (c *command) edit(ctx context.Context, cfg Config, d ConfigDraft) (ConfigChange, error) {
	f, err := os.CreateTemp("", "arcbox-config-*.toml")
	if err != nil {
		return ConfigChange{}, fmt.Errorf("a copy to edit: %w", err)
	}
	copied := f.Name()
	_, err = f.Write(d.Text)
	if err = errors.Join(err, f.Close()); err != nil {
		return ConfigChange{}, fmt.Errorf("a copy to edit: %w", err)
	}
	before := d.Text
	keep := func(err error) (ConfigChange, error) {
		if bytes.Equal(d.Text, before) {
			_ = os.Remove(copied)
			return ConfigChange{}, err
		}
		return ConfigChange{}, domain.WithHint(err, "nothing was changed; your text is in "+copied)
	}
	in := bufio.NewReader(io.LimitReader(orEmpty(c.deps.Stdin), 1<<10))
	for {
		if err := c.runEditor(ctx, cmp.Or(cfg.Editor(), "vi"), copied); err != nil {
			return keep(err)
		}
		if d.Text, err = os.ReadFile(copied); err != nil {
			return ConfigChange{}, fmt.Errorf("the edited copy: %w", err)
		}
		if bytes.Equal(d.Text, before) && d.Base == nil { // the example as it was is no file worth making
			_ = os.Remove(copied)
			return ConfigChange{File: d.File, Changed: []string{}}, nil
		}
		err := cfg.Check(d, copied)
		if err == nil {
			break
		}
		if !c.deps.Asks {
			return keep(err)
		}
		report(c.deps.Stderr, err, c.deps.Color)
		fmt.Fprint(c.deps.Stderr, "Edit it again? [Y/n] ")
		answer, readErr := in.ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); readErr != nil || a != "" && a != "y" && a != "yes" {
			return keep(err)
		}
	}
	done, err := cfg.Apply(d)
	if err != nil {
		return keep(err)
	}
	_ = os.Remove(copied)
	return done, nil
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return strings.NewReader("")
	}
	return r
}

// runEditor gives the editor, a command with arguments as in git and others,
// the terminal.
func (c *command) runEditor(ctx context.Context, editor, file string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "editor", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.deps.Stdin, c.deps.Stderr, c.deps.Stderr
	if err := cmd.Run(); err != nil {
		return domain.WithHint(fmt.Errorf("editor %s: %w", editor, err), "EDITOR names another one")
	}
	return nil
}
