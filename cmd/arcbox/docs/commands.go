package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"arcbox/adapters/cli"
)

// commandsMarkdown is the reference of the command line on one page.
func commandsMarkdown(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nGenerated from the command tree by `go run ./cmd/arcbox/docs`; the same is in `arcbox COMMAND --help` and in docs/man.\n\n")
	b.WriteString(root.Long + "\n\n" + code(root.Example))
	b.WriteString("## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range cli.ExitCodes() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Meaning)
	}
	b.WriteString("\n## Flags of every command\n\n")
	writeFlags(&b, root.PersistentFlags())
	for _, c := range commands(root)[1:] {
		writeCommand(&b, c)
	}
	return b.Bytes()
}

// commands are root and those below it that are not hidden, each before its own.
func commands(root *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			out = append(out, commands(c)...)
		}
	}
	return out
}

func writeCommand(b *bytes.Buffer, c *cobra.Command) {
	fmt.Fprintf(b, "## %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	b.WriteString(text + "\n\n")
	if c.HasAvailableSubCommands() {
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(b, "- `%s`: %s\n", sub.CommandPath(), sub.Short)
			}
		}
		b.WriteByte('\n')
	} else {
		if usage := "  " + c.UseLine(); usage != c.Example {
			b.WriteString(code(usage))
		}
		b.WriteString(code(c.Example))
	}
	writeFlags(b, c.LocalNonPersistentFlags())
	writeFlags(b, c.PersistentFlags())
}

func code(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("  "+line, " \n") + "\n")
	}
	return b.String() + "\n"
}

func writeFlags(b *bytes.Buffer, flags *pflag.FlagSet) {
	rows := ""
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		initial := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			initial = "`" + f.DefValue + "`"
		}
		rows += fmt.Sprintf("| %s | %s | %s |\n", name, initial, f.Usage)
	})
	if rows != "" {
		b.WriteString("| flag | default | meaning |\n|---|---|---|\n" + rows + "\n")
	}
}

// addManPages makes a page of section 1 for each command. They bear no date:
// the same commands are the same pages on any day.
func addManPages(out map[string][]byte, root *cobra.Command) error {
	date := time.Unix(0, 0).UTC()
	dated := regexp.MustCompile(`(?m)^(\.TH .*)"Jan 1970"`)
	for _, c := range commands(root) {
		c.DisableAutoGenTag = true
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		var page bytes.Buffer
		header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "ArcBox", Manual: "ArcBox", Date: &date}
		if err := doc.GenMan(c, header, &page); err != nil {
			return fmt.Errorf("manual page %s: %w", name, err)
		}
		if c == root {
			page.WriteString(".SH EXIT STATUS\n")
			for _, e := range cli.ExitCodes() {
				fmt.Fprintf(&page, ".TP\n\\fB%d\\fP\n%s\n", e.Code, e.Meaning)
			}
		}
		out["docs/man/"+name+".1"] = dated.ReplaceAll(page.Bytes(), []byte(`${1}""`))
	}
	return nil
}
