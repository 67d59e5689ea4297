package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func (w *world) Facts(context.Context) []Fact { return w.facts }
func (w *world) Home() string                 { return "/home/ann" }

// fakeConfig has two keys, and a file in memory.
type fakeConfig struct {
	text   string
	absent bool
	editor string
	err    error // of Values
	set    []string
	unset  string
	system bool
}

func (f *fakeConfig) Keys() []ConfigKey {
	return []ConfigKey{{Key: "vm.cpus", Meaning: "Processors; many.", Restart: true}, {Key: "vm.boot", Meaning: "When.", Values: []string{"eager", "on_demand"}},
		{Key: "proxy.http", Meaning: "Proxy."}, {Key: "vm.mounts", Meaning: "Directories.", List: true}}
}

func (f *fakeConfig) Values() ([]ConfigValue, error) {
	k := f.Keys()
	return []ConfigValue{
		{ConfigKey: k[0], Value: int64(3), Shown: "3", Source: "file", Where: "/c.toml:2"},
		{ConfigKey: k[1], Value: "eager", Shown: "eager", Source: "default"},
		{ConfigKey: k[2], Value: "http://ann:hunter2@proxy", Shown: "http://proxy", Redacted: true, Source: "file", Where: "/c.toml:4"},
		{ConfigKey: k[3], Value: []string{"~", "/data:ro"}, Shown: "~, /data:ro", Source: "default"},
	}, f.err
}

func (f *fakeConfig) Files() []ConfigFile {
	return []ConfigFile{{Path: "/etc/absent/config.toml"}, {Path: "/u/config.toml", Exists: true, User: true}}
}

func (f *fakeConfig) Set(key string, values []string, system bool) (ConfigChange, error) {
	f.set, f.system = append([]string{key}, values...), system
	return ConfigChange{File: "/u/config.toml", Changed: []string{key}, Restart: true, Overridden: key + " is also set in the environment"}, nil
}

func (f *fakeConfig) Unset(key string, system bool) (ConfigChange, error) {
	f.unset, f.system = key, system
	return ConfigChange{File: "/u/config.toml", Changed: []string{}}, nil
}

func (f *fakeConfig) Draft(bool) (ConfigDraft, error) {
	d := ConfigDraft{File: "/u/config.toml", Text: []byte(f.text)}
	if !f.absent {
		d.Base = []byte(f.text)
	}
	return d, nil
}

func (f *fakeConfig) Check(d ConfigDraft, at string) error {
	if strings.Contains(string(d.Text), "bad") {
		return fmt.Errorf("%s:1: bad: %w", at, domain.ErrInvalid)
	}
	return nil
}

func (f *fakeConfig) Apply(d ConfigDraft) (ConfigChange, error) {
	f.text = string(d.Text)
	return ConfigChange{File: d.File, Changed: []string{"vm.cpus"}}, nil
}
func (f *fakeConfig) Editor() string { return f.editor }
func (f *fakeConfig) Schema() []byte { return []byte("{}\n") }

func TestConfigShowsValuesAndNoPasswordsInLists(t *testing.T) {
	w := newWorld(t)
	_, stdout, _ := w.run(t, "config", "get", "vm.cpus")
	require.Equal(t, "3\n", stdout)
	_, stdout, _ = w.run(t, "config", "get", "vm.mounts")
	require.Equal(t, "~\n/data:ro\n", stdout)
	_, stdout, _ = w.run(t, "config", "get", "proxy.http")
	require.Equal(t, "http://ann:hunter2@proxy\n", stdout, "who asks for the key gets it")
	_, stdout, _ = w.run(t, "config", "list")
	require.Equal(t, "KEY         VALUE         FROM\nvm.cpus     3             /c.toml:2\nvm.boot     eager         default\n"+
		"proxy.http  http://proxy  /c.toml:4\nvm.mounts   ~, /data:ro   default\n", stdout)
	_, stdout, _ = w.run(t, "config", "list", "--format", "json")
	require.NotContains(t, stdout, "hunter2")
	require.True(t, json.Valid([]byte(stdout)))
	_, stdout, _ = w.run(t, "config", "list", "--changed", "--format", "quiet")
	require.Equal(t, "vm.cpus\nproxy.http\n", stdout)
	_, stdout, _ = w.run(t, "config", "path", "--format", "quiet")
	require.Equal(t, "/u/config.toml\n", stdout)
	_, stdout, _ = w.run(t, "config", "schema", "--format", "quiet")
	require.Equal(t, "{}\n", stdout)
	w.config.err = errors.New("line 3")
	code, _, stderr := w.run(t, "config", "get", "vm.cpus")
	require.Equal(t, ExitError, code)
	require.Equal(t, "arcbox: line 3\n", stderr)
}

func TestConfigSetSaysWhatItTakes(t *testing.T) {
	w := newWorld(t)
	w.running = true
	code, stdout, stderr := w.run(t, "config", "set", "--system", "vm.mounts", "~/src", "/data:ro")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, []string{"vm.mounts", "~/src", "/data:ro"}, w.config.set)
	require.True(t, w.config.system)
	require.Equal(t, "changed vm.mounts in /u/config.toml\n", stdout)
	require.Contains(t, stderr, "note: vm.mounts is also set in the environment")
	require.Contains(t, stderr, "arcbox daemon stop && arcbox daemon start")
	w.running = false
	_, _, stderr = w.run(t, "config", "set", "vm.cpus", "3")
	require.NotContains(t, stderr, "daemon", "there is none to start again")
	_, stdout, _ = w.run(t, "config", "unset", "vm.cpu")
	require.Equal(t, "vm.cpu", w.config.unset, "a misspelt key can be removed")
	require.Equal(t, "nothing changed in /u/config.toml\n", stdout)
}

// script is an editor.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "editor.sh")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700)) //nolint:gosec // it is run
	return path
}

func TestConfigEdit(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	copies := func() []string {
		left, err := filepath.Glob(filepath.Join(os.TempDir(), "arcbox-config-*"))
		require.NoError(t, err)
		return left
	}
	w := newWorld(t)
	w.config.text, w.config.editor = "old\n", script(t, `echo new >> "$1"`)
	code, stdout, stderr := w.run(t, "config", "edit")
	require.Equal(t, ExitOK, code, stderr)
	require.Equal(t, "old\nnew\n", w.config.text)
	require.Contains(t, stdout, "changed vm.cpus")
	require.Empty(t, copies())

	w.config.editor = script(t, `echo bad >> "$1"`)
	code, _, stderr = w.run(t, "config", "edit")
	require.Equal(t, ExitError, code)
	require.Equal(t, "old\nnew\n", w.config.text)
	require.Len(t, copies(), 1, "the work is kept")
	require.Contains(t, stderr, copies()[0]+":1: bad")
	require.NoError(t, os.Remove(copies()[0]))

	w.config.editor = script(t, "exit 1")
	code, _, stderr = w.run(t, "config", "edit")
	require.Equal(t, ExitError, code)
	require.Contains(t, stderr, "EDITOR names another one")
	require.Empty(t, copies())

	w.config.editor = ""
	code, _, stderr = w.run(t, "config", "edit")
	require.Equal(t, ExitUsage, code)
	require.Contains(t, stderr, "no terminal to edit on")

	// A user at a terminal gets a second try.
	deps := w.deps()
	answers, user, err := os.Pipe() // a file, as a terminal is
	require.NoError(t, err)
	defer answers.Close()
	_, err = user.WriteString("y\n")
	require.NoError(t, errors.Join(err, user.Close()))
	deps.Asks, deps.Stdin = true, answers
	w.config.editor = script(t, `if grep -q bad "$1"; then echo mended > "$1"; else echo bad > "$1"; fi`)
	require.Equal(t, ExitOK, Execute(t.Context(), deps, []string{"config", "edit"}), w.stderr.String())
	require.Equal(t, "mended\n", w.config.text)

	w.config.text, w.config.absent, w.config.editor = "example\n", true, "true"
	_, stdout, _ = w.run(t, "config", "edit")
	require.Contains(t, stdout, "nothing changed", "the example alone is no file worth making")
	require.Empty(t, copies())
}

func TestCompletion(t *testing.T) {
	w := newWorld(t)
	for args, want := range map[string][]string{
		"config set vm.":               {"vm.cpus\tProcessors", "vm.mounts\tDirectories"},
		"config set vm.boot o":         {"on_demand"},
		"daemon start --accelerator k": {"kvm"},
		"logs -c d":                    {"daemon", "dockerd"},
		"status --format ":             {"table", "json", "quiet", "go-template="},
		"config get vm.cpus ":          nil,
		"comp":                         {"completion\tPrint the completion for a shell"},
	} {
		_, stdout, _ := w.run(t, append([]string{"__complete"}, strings.Split(args, " ")...)...)
		for _, line := range want {
			require.Contains(t, stdout, line+"\n", args)
		}
		require.Contains(t, stdout, ":4\n", "no file names")
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, stdout, _ := w.run(t, "completion", shell)
		require.Equal(t, ExitOK, code)
		require.Contains(t, stdout, "__complete", shell)
	}
}
