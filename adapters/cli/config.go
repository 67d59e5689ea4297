package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func (c *command) config() *cobra.Command {
	return group("config", "Show and change the configuration", `Show and change the configuration. Later sources win: built-in defaults,
/etc/arcbox/config.toml, ~/.config/arcbox/config.toml, ARCBOX_* in the environment, flags.`,
		c.configGet(), c.configList(), c.configSet(), c.configUnset(), c.configEdit(), c.configPath(), c.configSchema())
}

func (c *command) configGet() *cobra.Command {
	return &cobra.Command{
		Use: "get KEY", Short: "Print what holds for a key",
		Long: `Print what holds for a key: of a list one entry a line. With --format json it also
says where the value comes from. Passwords are shown as they are.`,
		Example: "  arcbox config get vm.memory_mb\n  export DOCKER_HOST=unix://$(arcbox config get docker.socket_path)",
		Args:    wantArgs(1, 1, "a KEY"), ValidArgsFunction: c.completeOne,
		RunE: func(_ *cobra.Command, args []string) error {
			cfg := c.deps.Config(c.overrides())
			if _, err := knownKey(cfg.Keys(), args[0]); err != nil {
				return err
			}
			values, err := cfg.Values()
			if err != nil {
				return err
			}
			for _, v := range values {
				if v.Key != args[0] {
					continue
				}
				lines := []string{fmt.Sprint(v.Value)}
				if list, ok := v.Value.([]string); ok {
					lines = list
				}
				return c.print(v, func(w io.Writer) {
					for _, l := range lines {
						fmt.Fprintln(w, l)
					}
				}, lines...)
			}
			return nil
		},
	}
}

func (c *command) completeOne(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return c.completeKey(cmd, args, word)
}

// configListOutput is the JSON of config list.
type configListOutput struct {
	Keys []ConfigValue `json:"keys"`
}

func (c *command) configList() *cobra.Command {
	var changed bool
	cmd := &cobra.Command{
		Use: "list", Short: "Show all keys with what holds for them, and from where", Args: noArgs,
		Long:    "Show all keys with what holds for them, and from where. Passwords in URLs are not shown.",
		Example: "  arcbox config list\n  arcbox config list --changed\n  arcbox config list --format quiet",
		RunE: func(*cobra.Command, []string) error {
			values, err := c.deps.Config(c.overrides()).Values()
			if err != nil {
				return err
			}
			out := configListOutput{Keys: []ConfigValue{}}
			var names []string
			for _, v := range values {
				if changed && v.Source == "default" {
					continue
				}
				if v.Redacted {
					v.Value = v.Shown
				}
				out.Keys = append(out.Keys, v)
				names = append(names, v.Key)
			}
			return c.print(out, func(w io.Writer) {
				fmt.Fprintln(w, "KEY\tVALUE\tFROM")
				for _, v := range out.Keys {
					from := v.Where
					if from == "" {
						from = v.Source
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", v.Key, v.Shown, from)
				}
			}, names...)
		},
	}
	cmd.Flags().BoolVar(&changed, "changed", false, "only keys that do not have their default")
	return cmd
}

func (c *command) configSet() *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "set KEY VALUE...", Short: "Set a key in the configuration file",
		Long: `Set a key in the configuration file. Comments, order and every other key stay as they
are. A value that is not allowed is refused and changes nothing. A list is given as
several arguments, or as one that is split at commas.`,
		Example: "  arcbox config set vm.memory_mb 8192\n  arcbox config set vm.idle_timeout 30m\n  arcbox config set vm.mounts '~/src' /data:ro\n  sudo arcbox config set --system proxy.mode none",
		Args:    wantArgs(2, 1<<10, "a KEY and a VALUE"), ValidArgsFunction: c.completeKey,
		RunE: func(_ *cobra.Command, args []string) error {
			cfg := c.deps.Config(c.overrides())
			k, err := knownKey(cfg.Keys(), args[0])
			if err != nil {
				return err
			}
			if len(args) > 2 && !k.List {
				return usageError{fmt.Errorf("%s has one value, got %d", k.Key, len(args)-1)}
			}
			done, err := cfg.Set(args[0], args[1:], system)
			if err != nil {
				return err
			}
			return c.configChanged(done)
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

func systemFlag(cmd *cobra.Command, system *bool) {
	cmd.Flags().BoolVar(system, "system", false, "the file for all users, /etc/arcbox/config.toml, instead of yours")
}

func (c *command) configUnset() *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "unset KEY", Short: "Remove a key from the configuration file",
		Long: `Remove a key from the configuration file, so that what is weaker than the file holds
again, such as the default. A key that does not exist can be removed too.`,
		Example: "  arcbox config unset vm.memory_mb",
		Args:    wantArgs(1, 1, "a KEY"), ValidArgsFunction: c.completeOne,
		RunE: func(_ *cobra.Command, args []string) error {
			done, err := c.deps.Config(c.overrides()).Unset(args[0], system)
			if err != nil {
				return err
			}
			return c.configChanged(done)
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

// configChanged says what was done, and what it takes to have an effect.
func (c *command) configChanged(done ConfigChange) error {
	if done.Overridden != "" {
		c.warn("%s", done.Overridden)
	}
	err := c.print(done, func(w io.Writer) {
		if len(done.Changed) == 0 {
			fmt.Fprintf(w, "nothing changed in %s\n", done.File)
			return
		}
		fmt.Fprintf(w, "changed %s in %s\n", strings.Join(done.Changed, ", "), done.File)
	}, done.Changed...)
	if err != nil || !done.Restart {
		return err
	}
	if _, _, running, err := c.probe(); err == nil && running {
		c.narrate("the daemon that runs takes it up when it is started again: arcbox daemon stop && arcbox daemon start")
	}
	return nil
}

// configPathOutput is the JSON of config path.
type configPathOutput struct {
	Files []ConfigFile `json:"files"`
}

func (c *command) configPath() *cobra.Command {
	return &cobra.Command{
		Use: "path", Short: "Print where the configuration files are", Args: noArgs,
		Long:    "Print the configuration files that are read, the weakest first. --format quiet prints the one that arcbox config changes.",
		Example: "  arcbox config path\n  cat \"$(arcbox config path --format quiet)\"",
		RunE: func(*cobra.Command, []string) error {
			files := c.deps.Config(c.overrides()).Files()
			var mine []string
			for _, f := range files {
				if f.User {
					mine = append(mine, f.Path)
				}
			}
			return c.print(configPathOutput{files}, func(w io.Writer) {
				for _, f := range files {
					state := "absent"
					if f.Exists {
						state = "exists"
					}
					row(w, f.Path, state)
				}
			}, mine...)
		},
	}
}

func (c *command) configSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of a configuration file", Args: noArgs,
		Long: `Print the JSON schema of a configuration file, with which editors complete and check
it. It is JSON whatever --format says.`,
		Example: "  arcbox config schema > ~/.config/arcbox/config.schema.json",
		RunE: func(*cobra.Command, []string) error {
			_, err := c.deps.Stdout.Write(c.deps.Config(c.overrides()).Schema())
			return err
		},
	}
}
