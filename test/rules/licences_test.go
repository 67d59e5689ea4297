package rules

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// licences that may be linked into a program under Apache-2.0, by words that
// only they have.
var licences = []struct {
	name  string
	words *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`(?s)Apache License.*Version 2\.0`)},
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? [Vv]ersion 2\.0`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and(/or)? distribute`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms`)},
	{"Unlicense", regexp.MustCompile(`This is free and unencumbered software`)},
}

func TestWhatIsLinkedMayBe(t *testing.T) {
	modules := map[string]string{}
	for _, goos := range []string{"linux", "darwin"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Dir}}{{end}}", "./cmd/...")
		cmd.Dir = "../.."
		cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=1")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", goos, err)
		}
		for line := range strings.Lines(string(out)) {
			if path, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok && path != module {
				modules[path] = dir
			}
		}
	}
	if len(modules) < 20 {
		t.Fatalf("only %d modules found", len(modules))
	}
	for path, dir := range modules {
		if name := licenceOf(t, dir); name == "" {
			t.Errorf("%s: no licence that ArcBox may link", path)
		}
	}
}

func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "UNLICENSE"}, func(p string) bool { return strings.HasPrefix(name, p) }) || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range licences {
			if l.words.Match(bytes.ReplaceAll(text, []byte{'\n'}, []byte{' '})) {
				return l.name
			}
		}
	}
	return ""
}
