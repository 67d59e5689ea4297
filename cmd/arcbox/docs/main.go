// Command docs writes the reference that is generated: docs/cli.md, docs/man,
// docs/config.example.toml, docs/config.schema.json and the table of keys in
// docs/configuration.md. It is run in the module's root, or with that as argument.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"arcbox/adapters/cli"
	"arcbox/bootstrap"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	old, err := manPages(root)
	if err != nil {
		return err
	}
	for _, name := range old { // of commands that are gone
		if _, ok := files[name]; !ok {
			if err := os.Remove(filepath.Join(root, name)); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "docs", "man"), 0o755); err != nil { //nolint:gosec // checked in
		return err
	}
	for name, data := range files {
		if err := renameio.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPages are the pages that are there.
func manPages(root string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "docs", "man", "*.1"))
	for i, f := range found {
		found[i] = "docs/man/" + filepath.Base(f)
	}
	return found, err
}

// generate returns the files by their names below root. Of the handwritten
// docs/configuration.md it replaces what is between the two markers.
func generate(root string) (map[string][]byte, error) {
	tree := cli.New(bootstrap.CommandLine(bootstrap.Build{}, nil))
	out := map[string][]byte{
		"docs/cli.md":              commandsMarkdown(tree),
		"docs/config.example.toml": bootstrap.ConfigExample(),
		"docs/config.schema.json":  bootstrap.ConfigSchema(),
	}
	if err := addManPages(out, tree); err != nil {
		return nil, err
	}
	const name = "docs/configuration.md"
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, err
	}
	table, err := between(string(text), "<!-- keys: generated -->\n", "<!-- end of keys -->\n", bootstrap.ConfigMarkdown())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out[name] = []byte(table)
	return out, nil
}

func between(text, begin, end, insert string) (string, error) {
	before, rest, ok := strings.Cut(text, begin)
	_, after, ends := strings.Cut(rest, end)
	if !ok || !ends {
		return "", fmt.Errorf("no lines %q and %q", begin, end)
	}
	return before + begin + "\n" + insert + "\n" + end + after, nil
}
