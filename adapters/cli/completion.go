package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"arcbox/domain"
)

func (c *command) completion() *cobra.Command {
	shell := func(name, load, keep string, write func(*cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: "Print the completion of " + name, Args: noArgs,
			Long:    fmt.Sprintf("Print the completion of %s for commands, flags and configuration keys.\nThe first line below loads it into this shell, the second into every new one.", name),
			Example: "  " + load + "\n  " + keep,
			RunE:    func(cmd *cobra.Command, _ []string) error { return write(cmd.Root()) },
		}
	}
	return group("completion", "Print the completion for a shell", "Print the completion of commands, flags and configuration keys for a shell.",
		shell("bash", "source <(arcbox completion bash)", "arcbox completion bash > ~/.local/share/bash-completion/completions/arcbox",
			func(root *cobra.Command) error { return root.GenBashCompletionV2(c.deps.Stdout, true) }),
		shell("zsh", "source <(arcbox completion zsh)", `arcbox completion zsh > "${fpath[1]}/_arcbox"`,
			func(root *cobra.Command) error { return root.GenZshCompletion(c.deps.Stdout) }),
		shell("fish", "arcbox completion fish | source", "arcbox completion fish > ~/.config/fish/completions/arcbox.fish",
			func(root *cobra.Command) error { return root.GenFishCompletion(c.deps.Stdout, true) }))
}

// complete gives a flag the values that it may have.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails only for a flag that the command does not have, which every run would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// completeKey completes a configuration key, then its values where they are few.
func (c *command) completeKey(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, k := range c.deps.Config(c.overrides()).Keys() {
		switch {
		case len(args) == 0:
			meaning, _, _ := strings.Cut(k.Meaning, ";")
			out = append(out, cobra.CompletionWithDesc(k.Key, strings.TrimSuffix(meaning, ".")))
		case k.Key == args[0] && len(args) == 1:
			out = append(out, k.Values...)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// knownKey refuses a key that does not exist, and suggests the one that was meant.
func knownKey(keys []ConfigKey, key string) (ConfigKey, error) {
	var names []string
	for _, k := range keys {
		if k.Key == key {
			return k, nil
		}
		names = append(names, k.Key)
	}
	err := fmt.Errorf("unknown configuration key %q", key)
	if near, ok := domain.Nearest(key, names); ok {
		return ConfigKey{}, usageError{domain.WithHint(err, fmt.Sprintf("did you mean %q?", near))}
	}
	return ConfigKey{}, usageError{domain.WithHint(err, "arcbox config list shows the keys")}
}
